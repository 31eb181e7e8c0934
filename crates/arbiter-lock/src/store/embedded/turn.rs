//! Turns: how a caller's own thread locks the file lock.
//!
//! A process reads the writes of another one again, so steps that alternate between two processes
//! take half as long again as the same steps in runs. A process whose steps follow each other
//! closely leaves the others time for runs of their own. A process with occasional steps gets its
//! turn between any two.

use std::fs::File;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::system::clock::Clock;

/// How long to try before the step is left to the thread of the file lock.
const SOON: Duration = Duration::from_micros(40);
/// The pause between two attempts: sleeping takes longer.
const PAUSE: Duration = Duration::from_nanos(500);
/// How long to leave the file lock to other processes before that.
const RUN_OF_OTHERS: Duration = Duration::from_micros(100);
/// The pause between two attempts during that time.
const LONG_PAUSE: Duration = Duration::from_micros(25);
/// How soon a step closely follows the last one.
const FOLLOWS: Duration = Duration::from_micros(10);
/// How many steps in a row make a process busy: a release and the next acquire are two.
const BUSY: u32 = 4;

/// The recent steps of a process.
#[derive(Default)]
pub(super) struct Pace {
    ended: Duration,
    in_a_row: u32,
}

impl Pace {
    pub(super) fn begin(&mut self, now: Duration) {
        self.in_a_row = if now.saturating_sub(self.ended) <= FOLLOWS {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
    }

    pub(super) fn end(&mut self, now: Duration) {
        self.ended = now;
    }

    fn is_busy(&self) -> bool {
        BUSY <= self.in_a_row
    }
}

/// Locks the file for a step; returns false if it is not unlocked in time.
pub(super) fn lock_in_turn(file: &File, pace: &Pace) -> bool {
    try_lock(file)
        || (pace.is_busy() && lock_within(RUN_OF_OTHERS, LONG_PAUSE, file))
        || lock_soon(file)
}

/// Locks the file; returns false if it is not unlocked within the time of a step or two.
pub(super) fn lock_soon(file: &File) -> bool {
    try_lock(file) || lock_within(SOON, PAUSE, file)
}

fn lock_within(time: Duration, pause: Duration, file: &File) -> bool {
    let begun = Clock::Boot.now();
    let since = |begun| Clock::Boot.now().saturating_sub(begun);
    while since(begun) < time {
        let paused = Clock::Boot.now();
        while since(paused) < pause {
            std::hint::spin_loop();
        }
        if try_lock(file) {
            return true;
        }
    }
    false
}

fn try_lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_is_busy_while_steps_follow_closely() {
        let mut pace = Pace::default();
        let mut now = Duration::from_secs(1);
        let mut step = |after: u64| {
            now += Duration::from_micros(after);
            pace.begin(now);
            now += Duration::from_micros(20);
            pace.end(now);
            pace.is_busy()
        };
        // A release and the next acquire, repeated, but with pauses.
        for _ in 0..8 {
            assert!(!step(100));
            assert!(!step(1));
        }
        assert!(!step(1) && !step(1) && step(1) && step(1));
        assert!(!step(11));
    }
}
