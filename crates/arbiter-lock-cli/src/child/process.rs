//! The running command: its group, its end, its stops.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::shim;
use super::terminal::Terminal;
use super::watcher::Watcher;
use crate::exit::Exit;

/// A running command, the leader of a process group of its own.
pub(crate) struct Child {
    group: Pid,
    watcher: Watcher,
    terminal: Option<Terminal>,
    changes: Stream,
}

/// How the command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    Exited(i32),
    Died(i32),
}

impl Ended {
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Exited(0) => Exit::Success,
            Self::Exited(status) => Exit::Status((status & 0xff) as u8),
            Self::Died(signal) => Exit::ChildDied(signal),
        }
    }
}

impl Child {
    /// Starts the command. It is called from the main thread, which lives as long as arbiter
    /// does: the death signal follows the thread.
    pub(crate) fn start(command: &[OsString], env: &[(&str, String)]) -> std::io::Result<Self> {
        let changes = signal(SignalKind::child())?;
        let terminal = Terminal::open().filter(Terminal::is_ours);
        let mut shim = shim::command(terminal.is_some(), command);
        shim.process_group(0)
            .envs(env.iter().map(|(name, value)| (name, value)));
        let mut watcher = Watcher::start()?;
        let child = shim.spawn()?;
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
        if let Err(error) = watcher.watch(group) {
            // Unwatched, it must not run.
            let _ = killpg(group, Signal::SIGKILL);
            return Err(error);
        }
        Ok(Self {
            group,
            watcher,
            terminal,
            changes,
        })
    }

    /// Signals the whole group. A group that has gone needs no signal.
    pub(crate) fn signal(&self, signal: i32) {
        if let Ok(signal) = Signal::try_from(signal) {
            let _ = killpg(self.group, signal);
        }
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM as i32);
        // One that was stopped could not end.
        self.signal(Signal::SIGCONT as i32);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL as i32);
    }

    /// Waits until the command has ended. As process 1, it reaps orphans on the way.
    ///
    /// Cancel safe: an end that was not answered is answered by the next call.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            match self.reap() {
                Some(ended) => return ended,
                None => {
                    self.changes.recv().await;
                }
            }
        }
    }

    fn reap(&mut self) -> Option<Ended> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == self.group => {
                    return Some(self.gone(Ended::Exited(status)));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.group => {
                    return Some(self.gone(Ended::Died(signal as i32)));
                }
                Ok(WaitStatus::Stopped(pid, _)) if pid == self.group => self.stop_too(),
                Ok(WaitStatus::StillAlive) => return None,
                Err(Errno::ECHILD) => return Some(self.gone(Ended::Died(Signal::SIGKILL as i32))),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn gone(&mut self, ended: Ended) -> Ended {
        self.watcher.done();
        if let Some(terminal) = &self.terminal {
            terminal.take();
        }
        ended
    }

    /// The command was stopped, as by Ctrl-Z: arbiter stops with it, and continues it when it is
    /// continued itself. Meanwhile nothing is renewed.
    fn stop_too(&self) {
        let Some(terminal) = &self.terminal else {
            return; // whoever stopped it will continue it
        };
        terminal.take();
        let _ = kill(Pid::this(), Signal::SIGSTOP);
        if terminal.is_ours() {
            terminal.give(self.group);
        }
        self.signal(Signal::SIGCONT as i32);
    }
}
