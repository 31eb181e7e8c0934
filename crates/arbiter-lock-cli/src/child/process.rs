//! The running command: its group, its end, its stops.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgrp};
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::terminal::Terminal;
use super::watcher::Watcher;
use super::{job, shim};
use crate::exit::Exit;
use crate::output;
use crate::signals::Listener;

/// How often to check whether the rest of a group has ended, which no signal reports.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running command, the leader of a process group of its own.
pub(crate) struct Child {
    group: Pid,
    watcher: Watcher,
    terminal: Option<Terminal>,
    changes: Stream,
    /// Ctrl-Z while arbiter has the terminal and the command does not, or TSTP from another process.
    suspend: Listener,
    ended: Option<Ended>,
}

/// A change of the command's state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Ended(Ended),
    /// It was stopped from the terminal.
    Suspended(Signal),
}

/// How the command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    Exited(i32),
    Died(i32),
    /// It died of Ctrl-C, which was meant for arbiter's group as well.
    Interrupted,
}

impl Ended {
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Exited(0) => Exit::Success,
            Self::Exited(status) => Exit::Status((status & 0xff) as u8),
            Self::Died(signal) => Exit::DieOf(signal),
            Self::Interrupted => Exit::DieOf(Signal::SIGINT as i32),
        }
    }
}

impl Child {
    /// Starts the command. Must be called on the main thread, since the death signal is bound to
    /// the thread. `liveness` is the store's liveness file, if it has one.
    pub(crate) fn start(
        command: &[OsString],
        env: &[(&str, Option<OsString>)],
        liveness: Option<&Path>,
    ) -> std::io::Result<Self> {
        let changes = signal(SignalKind::child())?;
        let terminal = Terminal::open();
        let suspend = Listener::new(Signal::SIGTSTP as i32)?;
        let in_front = terminal.as_ref().is_some_and(Terminal::goes_to_the_command);
        let mut shim = shim::command(in_front, command)?;
        shim.process_group(0);
        for (name, value) in env {
            match value {
                Some(value) => shim.env(name, value),
                None => shim.env_remove(name),
            };
        }
        let mut watcher = Watcher::start(liveness)?;
        let child = shim.spawn()?;
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
        if let Err(error) = watcher.watch(group) {
            // The command must not run without a watcher.
            let _ = killpg(group, Signal::SIGKILL);
            return Err(error);
        }
        Ok(Self {
            group,
            watcher,
            terminal,
            changes,
            suspend,
            ended: None,
        })
    }

    /// Signals the whole group. A group that has ended is ignored.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = killpg(self.group, signal);
    }

    /// Forwards a signal to arbiter to the whole group.
    pub(crate) fn forward(&self, number: i32) {
        match Signal::try_from(number) {
            Ok(signal) => self.signal(signal),
            Err(_) => self.forward_real_time(number),
        }
    }

    /// Sends a real-time signal, which only a shell can send without `unsafe`.
    fn forward_real_time(&self, number: i32) {
        let line = format!("kill -{number} -{}", self.group);
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).stdin(Stdio::null());
        // It is reaped with the orphans.
        if let Err(error) = shell.spawn() {
            output::say(&format!(
                "signal {number} was not forwarded: sh cannot be started: {error}"
            ));
        }
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        // A stopped process cannot handle TERM.
        self.signal(Signal::SIGCONT);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Waits until the command has ended or was suspended. As process 1, it also reaps orphans.
    ///
    /// Cancel safe: an end that was not returned is returned by the next call.
    pub(crate) async fn changed(&mut self) -> Change {
        loop {
            if let Some(change) = self.reap() {
                return change;
            }
            tokio::select! {
                _ = self.changes.recv() => {}
                () = self.suspend.received() => self.signal(Signal::SIGTSTP),
            }
        }
    }

    /// Waits until the command has ended.
    ///
    /// Cancel safe, as [`Self::changed`].
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Change::Ended(ended) = self.changed().await {
                return ended;
            }
        }
    }

    /// Waits until all processes of its group have ended.
    ///
    /// Cancel safe.
    pub(crate) async fn all_ended(&mut self) {
        self.ended().await;
        while killpg(self.group, None).is_ok() {
            tokio::time::sleep(POLL_INTERVAL).await;
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        }
    }

    /// Stops arbiter, as the command was stopped, until it is continued.
    ///
    /// Meanwhile nothing is renewed, so check that the lock is held before [`Self::resume`].
    pub(crate) fn stop_too(&self, signal: Signal) -> Resume {
        let Some(terminal) = &self.terminal else {
            return Resume::Later; // the process that stopped it continues it
        };
        let asks = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        if asks && terminal.is_ours() {
            return Resume::InFront;
        }
        terminal.take_back(self.group);
        match job::stop() {
            false if asks => Resume::Later, // it would only ask again
            _ if asks || terminal.goes_to_the_command() => Resume::InFront,
            _ => Resume::Behind,
        }
    }

    /// Continues the command.
    pub(crate) fn resume(&self, how: Resume) {
        if let (Resume::InFront, Some(terminal)) = (how, &self.terminal)
            && terminal.is_ours()
        {
            terminal.give(self.group);
        }
        if how != Resume::Later {
            self.signal(Signal::SIGCONT);
        }
    }

    /// Ends the watcher. Processes that the command has left behind continue.
    pub(crate) fn let_go(mut self) {
        self.watcher.done();
    }

    fn reap(&mut self) -> Option<Change> {
        if let Some(ended) = self.ended {
            return Some(Change::Ended(ended));
        }
        loop {
            let change = match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((pid, status))) if pid.as_raw_pid() == self.group.as_raw() => {
                    change_of(status)
                }
                Ok(None) => return None,
                Err(Errno::CHILD) => Some(Change::Ended(Ended::Died(Signal::SIGKILL as i32))),
                Ok(Some(_)) | Err(_) => continue,
            };
            match change {
                Some(Change::Ended(ended)) => {
                    let ended = self.settle(ended);
                    self.ended = Some(ended);
                    return Some(Change::Ended(ended));
                }
                Some(suspended) => return Some(suspended),
                None => {}
            }
        }
    }

    /// Takes the terminal back. If the command died of Ctrl-C, arbiter's group gets the signal too,
    /// so that a script around arbiter does not continue with its next line.
    fn settle(&self, ended: Ended) -> Ended {
        let had_it = self
            .terminal
            .as_ref()
            .is_some_and(|terminal| terminal.take_back(self.group));
        match ended {
            Ended::Died(signal) if had_it && signal == Signal::SIGINT as i32 => {
                let _ = killpg(getpgrp(), Signal::SIGINT);
                Ended::Interrupted
            }
            ended => ended,
        }
    }
}

/// Returns the change that a status of the command reports. `None` if it was stopped by SIGSTOP.
fn change_of(status: WaitStatus) -> Option<Change> {
    if let Some(status) = status.exit_status() {
        return Some(Change::Ended(Ended::Exited(status)));
    }
    if let Some(signal) = status.terminating_signal() {
        return Some(Change::Ended(Ended::Died(signal)));
    }
    let signal = Signal::try_from(status.stopping_signal()?).ok()?;
    (signal != Signal::SIGSTOP).then_some(Change::Suspended(signal))
}

/// How a suspended command continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// With the terminal, if arbiter has it.
    InFront,
    /// In the background.
    Behind,
    /// Not by arbiter.
    Later,
}
