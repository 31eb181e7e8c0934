//! How old is a grant that was pushed?
//!
//! An answer to a look carries the server's time, and the look was sent at a known local time:
//! the server's clock was at least that far on when the look was sent plus nothing. So a push
//! that carries the server's time of the grant can be dated on the local clock, and a grant that
//! slept in a socket is refused, without another round trip.

use std::time::Duration;

use arbiter_lock_core::Moment;

use crate::hold::Belief;
use crate::store::Push;

/// How long an answer serves to compare the clocks: they drift.
const FRESH: Duration = Duration::from_secs(5);
/// How many answers are kept at the most.
const MOST: usize = 16;

/// Pairs of clock readings, from the answers to looks.
pub(super) struct GrantAge {
    /// When the first acquire was sent: the base while there is no answer.
    first_sent: Duration,
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy)]
struct Pair {
    /// Local time at which the look was sent.
    sent: Duration,
    /// The store's time of its answer.
    at: Moment,
}

impl Pair {
    /// Local time less store time, in microseconds: the greatest is nearest to the truth.
    fn offset(self) -> i128 {
        micros(self.sent) - i128::from(self.at.as_micros())
    }
}

impl GrantAge {
    pub(super) fn new(first_sent: Duration) -> Self {
        Self {
            first_sent,
            pairs: Vec::new(),
        }
    }

    /// Takes an answer with the store's time `at` to a look that was sent at `sent`.
    pub(super) fn saw(&mut self, sent: Duration, at: Moment, now: Duration) {
        self.pairs
            .retain(|pair| now.saturating_sub(pair.sent) <= FRESH);
        if self.pairs.len() == MOST {
            self.pairs.remove(0);
        }
        self.pairs.push(Pair { sent, at });
    }

    /// The belief in a grant that was received now: its life counts from when it was made, by
    /// the pair with the greatest offset of the last seconds, or by the newest.
    pub(super) fn of_push(&self, push: &Push, now: Duration) -> Belief {
        let fresh = self
            .pairs
            .iter()
            .filter(|pair| now.saturating_sub(pair.sent) <= FRESH);
        let offset = fresh
            .map(|pair| pair.offset())
            .max()
            .or(self.pairs.last().map(|pair| pair.offset()));
        let base = match offset {
            None => self.first_sent,
            Some(offset) => {
                let made = i128::from(push.at.as_micros()) + offset;
                Duration::from_micros(u64::try_from(made.max(0)).unwrap_or(u64::MAX))
            }
        };
        Belief {
            fence: push.fence,
            base: base.min(now),
            life: Duration::from_millis(push.life_ms),
        }
    }
}

fn micros(time: Duration) -> i128 {
    i128::try_from(time.as_micros()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn push(at_ms: u64) -> Push {
        Push {
            request: "r".into(),
            fence: 1,
            life_ms: 2_000,
            at: Moment::from_micros(at_ms * 1_000),
        }
    }

    #[test]
    fn with_no_answer_yet_a_grant_is_as_old_as_the_first_acquire() {
        assert_eq!(
            GrantAge::new(ms(500)).of_push(&push(9_000), ms(900)).base,
            ms(500)
        );
    }

    #[test]
    fn a_push_that_slept_in_a_socket_is_dated_to_when_it_was_made() {
        let mut age = GrantAge::new(ms(0));
        age.saw(ms(100), Moment::from_micros(10_100_000), ms(101));
        assert_eq!(age.of_push(&push(10_300), ms(4_000)).base, ms(300));
    }

    #[test]
    fn the_pair_with_the_greatest_offset_dates_a_grant_and_never_later_than_its_receipt() {
        let mut age = GrantAge::new(ms(0));
        age.saw(ms(100), Moment::from_micros(10_150_000), ms(160)); // 50 ms on the way
        age.saw(ms(200), Moment::from_micros(10_201_000), ms(202)); // 1 ms
        assert_eq!(age.of_push(&push(10_300), ms(310)).base, ms(299));
        assert_eq!(age.of_push(&push(10_300), ms(290)).base, ms(290));
        // The newest is not the best.
        age.saw(ms(250), Moment::from_micros(10_290_000), ms(330)); // 40 ms
        assert_eq!(age.of_push(&push(10_340), ms(350)).base, ms(339));
    }

    #[test]
    fn old_answers_do_not_count_while_there_are_fresh_ones() {
        let mut age = GrantAge::new(ms(0));
        age.saw(ms(100), Moment::from_micros(10_000_000), ms(101)); // offset −9900 ms
        age.saw(ms(5_500), Moment::from_micros(15_500_000), ms(5_501)); // offset −10000 ms
        assert_eq!(age.of_push(&push(15_600), ms(5_700)).base, ms(5_600));
    }
}
