//! When a command that lost its lock must be dead, by a clock that counts suspend.
//!
//! The library tells of the loss `grace` before that. One who was stopped, or slept, is told late,
//! and has as much less time left for its command; past the deadline, none.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::held::Held;

/// Timers do not count suspend: after so long, look at the clock again.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);

/// The end of the belief in a hold, as last seen.
pub(super) struct Deadline {
    end: Duration,
    every: Duration,
}

impl Deadline {
    /// Looks often enough to have seen the last renewal before a loss.
    pub(super) fn of(held: &Held, lease: Duration) -> Self {
        let mut deadline = Self {
            end: now(),
            every: (lease / 8).min(Duration::from_secs(1)),
        };
        deadline.update(held);
        deadline
    }

    /// Takes note of how long the hold may be believed. It waits before it does.
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

    /// When a command that is told to stop now must be dead; none, when it should be already.
    pub(super) fn of_grace(&self, grace: Duration) -> Option<Duration> {
        let now = now();
        let dead_by = now.min(self.end).saturating_add(grace);
        (now < dead_by).then_some(dead_by)
    }
}

/// Waits until a moment of the clock; of one that has passed, it says so at once.
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
