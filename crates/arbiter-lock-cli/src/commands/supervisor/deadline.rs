//! The time at which a command that lost its lock must be dead, by a clock that counts suspend.
//!
//! The library reports the loss `grace` before that. If this process was stopped or suspended, the
//! report is late, and the command has less time left.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::held::Held;

/// The longest sleep before the clock is read again, since timers do not count suspend.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);

/// The end of a hold's validity, as last seen.
pub(super) struct Deadline {
    end: Duration,
    every: Duration,
}

impl Deadline {
    /// Starts with the current validity. Updates are frequent enough to see the last renewal before
    /// a loss.
    pub(super) fn of(held: &Held, lease: Duration) -> Self {
        let mut deadline = Self {
            end: now(),
            every: (lease / 8).min(Duration::from_secs(1)),
        };
        deadline.update(held);
        deadline
    }

    /// Waits for the interval, and updates the end of the validity.
    ///
    /// Cancel safe.
    pub(super) async fn follow(&mut self, held: &Held) {
        tokio::time::sleep(self.every).await;
        self.update(held);
    }

    fn update(&mut self, held: &Held) {
        let now = now(); // first: a stop in between makes the end early, never late
        let remaining = held.remaining();
        if !remaining.is_zero() {
            self.end = self.end.max(now.saturating_add(remaining));
        }
    }

    /// Returns when a command that is asked to stop now must be dead, or `None` if that has passed.
    pub(super) fn of_grace(&self, grace: Duration) -> Option<Duration> {
        let now = now();
        let dead_by = now.min(self.end).saturating_add(grace);
        (now < dead_by).then_some(dead_by)
    }
}

/// Waits until that time of the clock. Returns at once if it has passed.
pub(super) async fn until(moment: Duration) {
    loop {
        let left = moment.saturating_sub(now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

fn now() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    // On Apple's systems the monotonic clock is the continuous one.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    clock_gettime(CLOCK).map_or(Duration::MAX, Duration::from)
}
