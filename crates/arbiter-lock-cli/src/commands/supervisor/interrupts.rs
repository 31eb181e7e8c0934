//! The signals to arbiter, which are forwarded to the command.

use std::io;

use futures_util::future::select_all;
use nix::sys::signal::Signal;

use crate::signals::Listener;

/// The signals that ask a program to end. A waiter ends too.
const ENDING: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// The other signals that are forwarded. While there is no command, they have no effect.
const OTHERS: &[Signal] = &[
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGWINCH,
    Signal::SIGIO,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Signal::SIGPWR,
];

/// Receives the signals to arbiter.
pub(crate) struct Interrupts(Vec<(Signal, Listener)>);

impl Interrupts {
    pub(crate) fn new() -> io::Result<Self> {
        let signals = ENDING.iter().chain(OTHERS);
        let listeners = signals.map(|signal| Ok((*signal, Listener::new(*signal as i32)?)));
        listeners.collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next signal.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        let received = self.0.iter_mut().map(|(signal, listener)| {
            Box::pin(async move {
                listener.received().await;
                *signal
            })
        });
        select_all(received).await.0
    }

    /// Waits for a signal that ends a waiter.
    ///
    /// Cancel safe.
    pub(crate) async fn ending(&mut self) -> i32 {
        loop {
            let signal = self.next().await;
            if ENDING.contains(&signal) {
                return signal as i32;
            }
        }
    }
}

/// Returns whether a signal asks the command to stop its work, so that the work may be unfinished.
pub(super) fn stops_work(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT)
}
