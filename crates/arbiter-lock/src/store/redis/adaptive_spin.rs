//! Whether a call polls repeatedly for its answer before it sleeps. A wake-up may take longer than
//! the answer.

use std::time::{Duration, Instant};

/// How long a call polls: an answer from the same machine comes sooner.
const SOON: Duration = Duration::from_micros(100);
/// How many calls sleep at once, after others have polled without an answer, before one polls
/// again.
const MOST_ASLEEP: u32 = 64;

/// The recent success of polling.
#[derive(Default)]
pub(super) struct AdaptiveSpin {
    /// How many calls have yet to sleep at once.
    asleep: u32,
    /// How many do after the next call that polls without an answer.
    next: u32,
}

impl AdaptiveSpin {
    /// Returns until when a call that begins now polls; `None` if it sleeps at once.
    pub(super) fn begin(&mut self) -> Option<Instant> {
        let sleeps = 0 < self.asleep;
        self.asleep = self.asleep.saturating_sub(1);
        (!sleeps).then(|| Instant::now() + SOON)
    }

    pub(super) fn has_spun_in_vain(&mut self) {
        self.asleep = self.next;
        self.next = (2 * self.next).clamp(1, MOST_ASLEEP);
    }

    pub(super) fn has_paid(&mut self) {
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_replies_limit_spinning_to_one_in_64() {
        let mut spin = AdaptiveSpin::default();
        let mut looks = |calls: usize| {
            let mut looked = 0;
            for _ in 0..calls {
                if spin.begin().is_some() {
                    spin.has_spun_in_vain();
                    looked += 1;
                }
            }
            looked
        };
        assert_eq!(looks(2), 2);
        looks(1_000);
        assert_eq!(looks(650), 10);
    }

    #[test]
    fn fast_replies_restore_spinning() {
        let mut spin = AdaptiveSpin::default();
        for _ in 0..1_000 {
            if spin.begin().is_some() {
                spin.has_spun_in_vain();
            }
        }
        while spin.begin().is_none() {}
        spin.has_paid();
        assert!((0..100).all(|_| spin.begin().is_some()));
        spin.has_spun_in_vain();
        assert!(spin.begin().is_some());
    }
}
