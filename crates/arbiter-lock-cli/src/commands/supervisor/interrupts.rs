//! The signals that ask arbiter to end.

use std::io;

use nix::sys::signal::Signal;

use crate::signals::Listener;

/// TERM, INT and HUP.
pub(crate) struct Interrupts {
    terminate: Listener,
    interrupt: Listener,
    hangup: Listener,
}

impl Interrupts {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: Listener::new(Signal::SIGTERM as i32)?,
            interrupt: Listener::new(Signal::SIGINT as i32)?,
            hangup: Listener::new(Signal::SIGHUP as i32)?,
        })
    }

    /// Waits for the next signal.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            () = self.terminate.received() => Signal::SIGTERM as i32,
            () = self.interrupt.received() => Signal::SIGINT as i32,
            () = self.hangup.received() => Signal::SIGHUP as i32,
        }
    }
}
