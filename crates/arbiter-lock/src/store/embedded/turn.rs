//! How a caller's own thread comes by a turn at the gate.
//!
//! What another process has written has to be read anew, so steps of two in turn take half as
//! long again as the same steps in rows. A process whose steps follow one upon another leaves the
//! others a row of theirs as well; one that comes now and then is let in between any two.

use std::fs::File;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::system::clock::Clock;

/// How long to ask before the step is left to the gate's thread, and the pause between two
/// questions: to sleep takes longer.
const SOON: Duration = Duration::from_micros(40);
const PAUSE: Duration = Duration::from_nanos(500);
/// How long to leave the gate to others before that, and how often to see whether they are gone.
const OTHERS_ROW: Duration = Duration::from_micros(100);
const LOOK: Duration = Duration::from_micros(25);
/// How soon a step follows upon the last, and how many in a row make a process busy: to release
/// and to ask again are two.
const FOLLOWS: Duration = Duration::from_micros(10);
const BUSY: u32 = 4;

/// How a process has come to the gate of late.
#[derive(Default)]
pub(super) struct Pace {
    left: Duration,
    in_a_row: u32,
}

impl Pace {
    pub(super) fn come(&mut self, now: Duration) {
        self.in_a_row = if now.saturating_sub(self.left) <= FOLLOWS {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
    }

    pub(super) fn leave(&mut self, now: Duration) {
        self.left = now;
    }

    fn is_busy(&self) -> bool {
        BUSY <= self.in_a_row
    }
}

/// Locks the gate if it opens in time.
pub(super) fn enters(gate: &File, pace: &Pace) -> bool {
    is_open(gate) || (pace.is_busy() && opens_in(OTHERS_ROW, LOOK, gate)) || opens_soon(gate)
}

/// Locks the gate if it opens within the time of a step or two.
pub(super) fn opens_soon(gate: &File) -> bool {
    is_open(gate) || opens_in(SOON, PAUSE, gate)
}

fn opens_in(time: Duration, pause: Duration, gate: &File) -> bool {
    let begun = Clock::Boot.now();
    let since = |begun| Clock::Boot.now().saturating_sub(begun);
    while since(begun) < time {
        let paused = Clock::Boot.now();
        while since(paused) < pause {
            std::hint::spin_loop();
        }
        if is_open(gate) {
            return true;
        }
    }
    false
}

fn is_open(gate: &File) -> bool {
    flock(gate, FlockOperation::NonBlockingLockExclusive).is_ok()
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
            pace.come(now);
            now += Duration::from_micros(20);
            pace.leave(now);
            pace.is_busy()
        };
        // A release, and the next acquire: time and again, but not at once.
        for _ in 0..8 {
            assert!(!step(100));
            assert!(!step(1));
        }
        assert!(!step(1) && !step(1) && step(1) && step(1));
        assert!(!step(11));
    }
}
