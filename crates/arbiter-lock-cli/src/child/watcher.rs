//! A process that outlives arbiter by a moment: when arbiter dies without a word, it kills the
//! command's whole group. The death signal of the kernel reaches the command alone.
//!
//! On a store that sees processes die, it lives on in the store's eyes until the group is gone:
//! nobody is granted while something of the command still runs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use super::shim::own_program;
use crate::exit::Exit;

/// The word by which arbiter starts itself as the watcher.
const WORD: &str = "--watch-the-group";
/// What arbiter says when there is nothing to watch any more.
const DONE: u8 = b'.';
/// What the watcher says when it watches.
const READY: u8 = b'!';
/// For how long a group that was killed is waited for.
const DYING: Duration = Duration::from_secs(2);

/// Arbiter's end: the pipe whose end the watcher waits for.
pub(super) struct Watcher(ChildStdin);

impl Watcher {
    /// In a group of its own, so that what is meant for the command does not reach it. It locks
    /// the liveness file, where there is one, before this returns.
    pub(super) fn start(liveness: Option<&Path>) -> std::io::Result<Self> {
        let mut watcher = own_program();
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

    /// The command has ended.
    pub(super) fn done(&mut self) {
        // A watcher that is gone needs no word.
        let _ = self.0.write_all(&[DONE]);
    }
}

/// Watches, if this process was started as the watcher.
pub(crate) fn watch() -> Option<Exit> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != WORD {
        return None;
    }
    // What is sent to all that arbiter started, as systemd does, must not end it before arbiter.
    let _ = SigSet::all().thread_block();
    let Ok(_alive) = stay_alive(&args.next().unwrap_or_default()) else {
        return Some(Exit::Os);
    };
    let mut stdin = std::io::stdin().lock();
    let mut group = [0; 4];
    // An arbiter that has died meanwhile has started nothing.
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

/// Kills a group, and waits until it is gone.
fn kill(group: Pid) {
    let begun = Instant::now();
    // A group that has gone needs no signal.
    while killpg(group, Signal::SIGKILL).is_ok() && lives(group) && begun.elapsed() < DYING {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether somebody of a group still runs. The dead whom nobody has reaped can be signalled, and
/// do nothing more. Where the kernel does not tell, somebody does.
fn lives(group: Pid) -> bool {
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
    use std::process::Command;

    use super::*;

    #[test]
    fn unreaped_group_is_dead_stopped_group_is_alive() {
        let mut sleeper = Command::new("sleep");
        let mut sleeper = sleeper.arg("60").process_group(0).spawn().unwrap();
        let group = Pid::from_raw(sleeper.id() as i32);
        killpg(group, Signal::SIGSTOP).unwrap();
        assert!(lives(group));
        let begun = Instant::now();
        kill(group);
        assert!(begun.elapsed() < DYING / 2, "{:?}", begun.elapsed());
        assert!(killpg(group, None).is_ok(), "it has not been reaped");
        sleeper.wait().unwrap();
    }
}
