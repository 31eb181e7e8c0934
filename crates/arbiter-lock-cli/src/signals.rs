//! Signals to arbiter. A signal that was ignored at its start, as by `nohup`, stays ignored.

use std::io;
use std::sync::OnceLock;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives one signal, unless it was ignored when arbiter started. Then the command ignores it,
/// too.
pub(crate) struct Listener(Option<Signal>);

impl Listener {
    pub(crate) fn new(number: i32) -> io::Result<Self> {
        if is_ignored(number) {
            return Ok(Self(None));
        }
        signal(SignalKind::from_raw(number)).map(Some).map(Self)
    }

    /// Waits for the signal.
    ///
    /// Cancel safe.
    pub(crate) async fn received(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Returns whether a signal was ignored at the start, or false if the kernel does not report it.
fn is_ignored(number: i32) -> bool {
    static STATUS: OnceLock<String> = OnceLock::new();
    let status = STATUS.get_or_init(|| {
        // Without /proc, no signal counts as ignored.
        std::fs::read_to_string("/proc/self/status").unwrap_or_default()
    });
    ignored_in(status, number)
}

fn ignored_in(status: &str, number: i32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    u32::try_from(number - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or_default() & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernel_mask() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        let ignored: Vec<_> = (0..=64).filter(|&n| ignored_in(status, n)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!ignored_in("", 1));
    }
}
