//! A process that outlives arbiter by a moment: when arbiter dies without a word, it kills the
//! command's whole group. The death signal of the kernel reaches the command alone.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Stdio};

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use super::shim::own_program;
use crate::exit::Exit;

/// The word by which arbiter starts itself as the watcher.
const WORD: &str = "--watch-the-group";
/// What arbiter says when there is nothing to watch any more.
const DONE: u8 = b'.';

/// Arbiter's end: the pipe whose end the watcher waits for.
pub(super) struct Watcher(ChildStdin);

impl Watcher {
    /// In a group of its own, so that what is meant for the command does not reach it.
    pub(super) fn start() -> std::io::Result<Self> {
        let mut watcher = own_program();
        watcher
            .arg(WORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0);
        let stdin = watcher.spawn()?.stdin.take();
        stdin
            .map(Self)
            .ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
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
    if std::env::args_os().nth(1)? != WORD {
        return None;
    }
    // What is sent to all that arbiter started, as systemd does, must not end it before arbiter.
    let _ = SigSet::all().thread_block();
    let mut stdin = std::io::stdin().lock();
    let mut group = [0; 4];
    if stdin.read_exact(&mut group).is_ok() && stdin.read_exact(&mut [0]).is_err() {
        // A group that has gone needs no signal.
        let _ = killpg(Pid::from_raw(i32::from_ne_bytes(group)), Signal::SIGKILL);
    }
    Some(Exit::Success)
}
