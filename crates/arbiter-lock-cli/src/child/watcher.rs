//! A process that kills the command's whole group if arbiter dies unexpectedly. The kernel's death
//! signal reaches only the command itself.
//!
//! On an embedded store it keeps the liveness file locked until the group has ended, so that no
//! waiter is granted while a process of the command still runs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use super::program;
use crate::exit::Exit;
use crate::output;

/// The argument that makes arbiter the watcher.
const WORD: &str = "--watch-the-group";
/// Sent by arbiter when the command has ended.
const DONE: u8 = b'.';
/// Sent by the watcher when it watches.
const READY: u8 = b'!';
/// How long to wait for a group that was killed.
const DYING: Duration = Duration::from_secs(2);

/// Arbiter's end of the pipe to the watcher, which waits until it is closed.
pub(super) struct Watcher(ChildStdin);

impl Watcher {
    /// Starts a watcher in its own group, so that signals to the command do not reach it. The
    /// watcher has locked the liveness file, if there is one, when this returns.
    pub(super) fn start(liveness: Option<&Path>) -> std::io::Result<Self> {
        let mut watcher = program::again()?;
        watcher
            .arg(WORD)
            .arg(liveness.map_or("".as_ref(), Path::as_os_str))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut watcher = watcher.spawn()?;
        let (Some(stdin), Some(mut stdout)) = (watcher.stdin.take(), watcher.stdout.take()) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        stdout.read_exact(&mut [0])?;
        Ok(Self(stdin))
    }

    /// Names the group to watch.
    pub(super) fn watch(&mut self, group: Pid) -> std::io::Result<()> {
        self.0.write_all(&group.as_raw().to_ne_bytes())
    }

    /// Reports that the command has ended.
    pub(super) fn done(&mut self) {
        // The watcher may have ended.
        let _ = self.0.write_all(&[DONE]);
    }
}

/// Checks that arbiter can start itself, before it acquires anything.
pub(crate) fn check() -> Result<(), Exit> {
    if program::is_certain() {
        return Ok(());
    }
    program::again().and_then(probe).map_err(|error| {
        output::say(&format!(
            "the command could not be started, since arbiter cannot start itself: {error}; mount \
             /proc, and start arbiter by its path"
        ));
        Exit::Os
    })
}

/// Checks that a program becomes the watcher. This one ends at once.
fn probe(mut program: Command) -> std::io::Result<()> {
    program.arg(WORD).arg("").stdin(Stdio::null());
    let output = program.output()?;
    if output.stdout == [READY] {
        return Ok(());
    }
    let shown = program.get_program().to_string_lossy().into_owned();
    Err(std::io::Error::other(format!("{shown} is not arbiter")))
}

/// Watches if this process is the watcher.
pub(crate) fn watch() -> Option<Exit> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != WORD {
        return None;
    }
    // A signal to all processes of arbiter, as by systemd, must not end it before arbiter.
    let _ = SigSet::all().thread_block();
    let Ok(_alive) = stay_alive(&args.next().unwrap_or_default()) else {
        return Some(Exit::Os);
    };
    let mut stdin = std::io::stdin().lock();
    let mut group = [0; 4];
    // If arbiter has died meanwhile, it has started nothing.
    let _ = std::io::stdout()
        .write_all(&[READY])
        .and_then(|()| std::io::stdout().flush());
    if stdin.read_exact(&mut group).is_ok() && stdin.read_exact(&mut [0]).is_err() {
        kill(Pid::from_raw(i32::from_ne_bytes(group)));
    }
    Some(Exit::Success)
}

/// Locks the liveness file as arbiter does, until this process ends.
fn stay_alive(liveness: &OsStr) -> std::io::Result<Option<Flock<File>>> {
    if liveness.is_empty() {
        return Ok(None);
    }
    let locked = Flock::lock(File::open(liveness)?, FlockArg::LockShared);
    locked.map(Some).map_err(|(_, e)| e.into())
}

/// Kills a group, and waits until it has no process.
fn kill(group: Pid) {
    let begun = Instant::now();
    while killpg(group, Signal::SIGKILL).is_ok() && is_alive(group) && begun.elapsed() < DYING {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns true if a process of the group still runs, or if that cannot be read. A dead process
/// that is not reaped can still be signaled, but does not count.
fn is_alive(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return true;
    };
    let group = group.to_string();
    let members: Vec<bool> = processes
        .flatten()
        .filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok())
        .filter_map(|stat| {
            // After the name, in parentheses: state, parent, group, and, as the 18th, threads.
            let (_, rest) = stat.rsplit_once(')')?;
            let words: Vec<&str> = rest.split_whitespace().collect();
            let is_dead =
                matches!(*words.first()?, "Z" | "X") && matches!(*words.get(17)?, "0" | "1");
            (*words.get(2)? == group).then_some(!is_dead)
        })
        .collect();
    members.is_empty() || members.contains(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreaped_group_is_dead_stopped_group_is_alive() {
        let mut sleeper = Command::new("sleep");
        let mut sleeper = sleeper.arg("60").process_group(0).spawn().unwrap();
        let group = Pid::from_raw(sleeper.id() as i32);
        killpg(group, Signal::SIGSTOP).unwrap();
        assert!(is_alive(group));
        let begun = Instant::now();
        kill(group);
        assert!(begun.elapsed() < DYING / 2, "{:?}", begun.elapsed());
        assert!(killpg(group, None).is_ok(), "it has not been reaped");
        sleeper.wait().unwrap();
    }
}
