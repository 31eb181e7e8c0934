//! The signals to arbiter, which are forwarded to the command.

use std::io;
use std::time::Duration;

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
    Signal::SIGCONT,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Signal::SIGPWR,
];

/// How much later than the command arbiter may receive a signal that was sent to both.
const SAME_MOMENT: Duration = Duration::from_millis(20);

/// Receives the signals to arbiter.
pub(crate) struct Interrupts(Vec<(i32, Listener)>);

impl Interrupts {
    pub(crate) fn new() -> io::Result<Self> {
        let named = ENDING.iter().chain(OTHERS).map(|signal| *signal as i32);
        let signals = named.chain(real_time());
        let listeners = signals.map(|signal| Ok((signal, Listener::new(signal)?)));
        listeners.collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next signal.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> i32 {
        let received = self.0.iter_mut().map(|(signal, listener)| {
            Box::pin(async move {
                listener.received().await;
                *signal
            })
        });
        select_all(received).await.0
    }

    /// Returns a signal that asks the command to stop its work, if it was sent before now.
    pub(super) async fn stop_already_sent(&mut self) -> Option<Signal> {
        let stop = async {
            loop {
                if let Some(stop) = stop_of_work(self.next().await) {
                    return stop;
                }
            }
        };
        tokio::time::timeout(SAME_MOMENT, stop).await.ok()
    }

    /// Waits for a signal that ends a waiter.
    ///
    /// Cancel safe.
    pub(crate) async fn ending(&mut self) -> i32 {
        loop {
            let signal = self.next().await;
            if ENDING.iter().any(|ending| *ending as i32 == signal) {
                return signal;
            }
        }
    }
}

/// Returns the real-time signals, which are forwarded too.
fn real_time() -> std::ops::RangeInclusive<i32> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return nix::libc::SIGRTMIN()..=nix::libc::SIGRTMAX();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return std::ops::RangeInclusive::new(1, 0);
}

/// Returns the signal if it asks the command to stop its work, so that the work may be unfinished.
pub(super) fn stop_of_work(signal: i32) -> Option<Signal> {
    let signal = Signal::try_from(signal).ok()?;
    let stops = matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT);
    stops.then_some(signal)
}
