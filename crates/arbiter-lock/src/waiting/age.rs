//! The age of a grant that was pushed.
//!
//! The reply to a poll carries the server's time, and the poll was sent at a known local time. So
//! the server's clock showed that time no earlier than the poll was sent. A push carries the
//! server's time of the grant. The time between the two, by the server's clock, took at least 50/51
//! of that locally, since the server's clock runs at most 2 % fast. This dates the grant without
//! another round trip, so that one that was delayed in a socket is rejected.
//!
//! Another server has another clock. So a reply dates only grants of the same source. Without such a
//! reply, a grant counts from the first acquire.

use std::time::Duration;

use arbiter_lock_core::Moment;

use crate::holds::hold::Validity;
use crate::store::{PushedGrant, Source};

/// The least that the local clock advances while the store's clock advances by 51.
const LOCAL_OF_51: i128 = 50;

/// Dates the grants of one request.
pub(super) struct GrantAge {
    /// When the first acquire was sent. No grant of the request is older.
    first_sent: Duration,
    /// The reply that dates grants latest.
    best: Option<Pair>,
}

#[derive(Clone, Copy)]
struct Pair {
    /// The local time at which the poll was sent.
    sent: Duration,
    /// The store's time of the reply.
    at: Moment,
    source: Source,
}

impl Pair {
    /// Returns the earliest local time at which the store's clock showed `shown`.
    ///
    /// Times before the pair are computed in the same way: a grant from before a reply that queued
    /// the request again has expired, and the margin covers the difference over its TTL.
    fn date(self, shown: Moment) -> Duration {
        let passed = i128::from(shown.as_micros()) - i128::from(self.at.as_micros());
        let local = micros(self.sent) + (passed * LOCAL_OF_51).div_euclid(51);
        Duration::from_micros(u64::try_from(local.max(0)).unwrap_or(u64::MAX))
    }
}

impl GrantAge {
    pub(super) fn new(first_sent: Duration) -> Self {
        Self {
            first_sent,
            best: None,
        }
    }

    /// Records a reply from that source, with the store's time `at`, to a poll sent at `sent`.
    ///
    /// It replaces the best reply if it dates grants later, or if it refutes the best reply: a
    /// store that shows more than that allows has had its clock set forward. It also replaces a
    /// reply of another source.
    pub(super) fn record(&mut self, sent: Duration, at: Moment, source: Source, now: Duration) {
        let dated = self.best_of(source).map(|best| best.date(at));
        if dated.is_none_or(|dated| dated <= sent || now < dated) {
            self.best = Some(Pair { sent, at, source });
        }
    }

    /// Returns the validity of a grant that was received now. Its TTL counts from the earliest time
    /// at which it can have been made.
    pub(super) fn of_push(
        &self,
        PushedGrant { push, source }: &PushedGrant,
        now: Duration,
    ) -> Validity {
        let best = self.best_of(*source);
        let made = best.map_or(Duration::ZERO, |best| best.date(push.at));
        Validity {
            fence: push.fence,
            base: made.max(self.first_sent).min(now),
            ttl: Duration::from_millis(push.ttl_ms),
        }
    }

    fn best_of(&self, source: Source) -> Option<Pair> {
        self.best.filter(|best| best.source == source)
    }
}

fn micros(time: Duration) -> i128 {
    i128::try_from(time.as_micros()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Push;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn push(at_ms: u64) -> PushedGrant {
        push_at(Moment::from_micros(at_ms * 1_000))
    }

    fn push_at(at: Moment) -> PushedGrant {
        PushedGrant {
            push: Push {
                request: "r".into(),
                fence: 1,
                ttl_ms: 2_000,
                at,
            },
            source: 0,
        }
    }

    /// Returns the store's time at a local time, for a clock with that rate that began at 10 s.
    fn shown(local: Duration, rate: f64) -> Moment {
        let passed = (local.as_micros() as f64 * rate) as u64;
        Moment::from_micros(10_000_000 + passed)
    }

    #[test]
    fn grant_without_replies_dates_from_first_acquire() {
        assert_eq!(
            GrantAge::new(ms(500)).of_push(&push(9_000), ms(900)).base,
            ms(500)
        );
    }

    #[test]
    fn no_grant_is_older_than_the_first_acquire() {
        let mut age = GrantAge::new(ms(50));
        age.record(ms(100), Moment::from_micros(10_100_000), 0, ms(101));
        assert_eq!(age.of_push(&push(9_000), ms(4_000)).base, ms(50));
    }

    #[test]
    fn delayed_push_is_dated_to_its_creation() {
        let mut age = GrantAge::new(ms(0));
        age.record(ms(100), Moment::from_micros(10_100_000), 0, ms(101));
        assert_eq!(age.of_push(&push(10_304), ms(4_000)).base, ms(300));
    }

    #[test]
    fn latest_date_counts_up_to_the_receipt() {
        let mut age = GrantAge::new(ms(0));
        age.record(ms(100), Moment::from_micros(10_150_000), 0, ms(160)); // 50 ms on the way
        age.record(ms(200), Moment::from_micros(10_201_000), 0, ms(202)); // 1 ms
        assert_eq!(age.of_push(&push(10_303), ms(310)).base, ms(300));
        assert_eq!(age.of_push(&push(10_303), ms(290)).base, ms(290));
        // The newest is not the best.
        age.record(ms(250), Moment::from_micros(10_290_000), 0, ms(330)); // 40 ms
        assert_eq!(age.of_push(&push(10_354), ms(360)).base, ms(350));
    }

    /// Returns by how much the worst of many grants is dated too late.
    ///
    /// The store's clock has that rate, a poll per second takes up to 120 ms to arrive, and pushes
    /// are late.
    fn dated_too_late(rate: f64) -> Duration {
        let mut worst = Duration::ZERO;
        for late in [0, 1, 40, 120] {
            for grant_ms in (7..20_000).step_by(333) {
                let mut age = GrantAge::new(ms(0));
                for (n, sent_ms) in (0..grant_ms).step_by(1_000).enumerate() {
                    let out = if n == 0 { 0 } else { late };
                    let (sent, seen) = (ms(sent_ms), ms(sent_ms + out));
                    if sent_ms + out < grant_ms {
                        age.record(sent, shown(seen, rate), 0, seen + ms(out / 2));
                    }
                }
                let granted = push_at(shown(ms(grant_ms), rate));
                let base = age.of_push(&granted, ms(grant_ms + 1_900)).base;
                worst = worst.max(base.saturating_sub(ms(grant_ms)));
            }
        }
        worst
    }

    #[test]
    fn clock_two_percent_fast_dates_nothing_late() {
        for percent in [80, 95, 98, 99, 100, 101, 102] {
            let error = dated_too_late(f64::from(percent) / 100.0);
            assert!(error <= Duration::from_micros(1), "{percent}: {error:?}");
        }
        // Beyond the bound this test notices.
        let error = dated_too_late(1.025);
        assert!(ms(1) < error, "{error:?}");
    }

    #[test]
    fn old_reply_dates_as_well() {
        let mut age = GrantAge::new(ms(0));
        age.record(ms(100), shown(ms(100), 1.02), 0, ms(101));
        let granted = push_at(shown(ms(60_100), 1.02));
        let base = age.of_push(&granted, ms(60_200)).base;
        assert!(ms(60_099) < base && base <= ms(60_100), "{base:?}");
    }

    #[test]
    fn clock_set_forward_refutes_older_replies() {
        let mut age = GrantAge::new(ms(0));
        age.record(ms(100), Moment::from_micros(10_100_000), 0, ms(101));
        // Three seconds ahead since.
        age.record(ms(1_100), Moment::from_micros(14_100_000), 0, ms(1_140));
        assert_eq!(age.of_push(&push(14_202), ms(3_000)).base, ms(1_200));
    }

    #[test]
    fn absurd_store_times_are_soon_refuted() {
        for absurd in [0, u64::MAX] {
            let mut age = GrantAge::new(ms(50));
            age.record(ms(100), Moment::from_micros(absurd), 0, ms(101));
            let base = age.of_push(&push(10_300), ms(400)).base;
            assert!(ms(50) <= base && base <= ms(400), "{base:?}");
            age.record(ms(200), Moment::from_micros(10_200_000), 0, ms(201));
            assert_eq!(age.of_push(&push(10_302), ms(4_000)).base, ms(300));
        }
    }

    #[test]
    fn replies_of_another_server_date_no_grant() {
        for other_ms in [7_000_u64, 10_001, 13_000, 20_000] {
            let mut age = GrantAge::new(ms(50));
            age.record(ms(100), Moment::from_micros(10_100_000), 0, ms(101));
            // The clock of the other server showed `other_ms` when the local one showed zero.
            let at = |local_ms| Moment::from_micros((other_ms + local_ms) * 1_000);
            let granted = PushedGrant {
                source: 1,
                ..push_at(at(302))
            };
            assert_eq!(age.of_push(&granted, ms(4_000)).base, ms(50), "{other_ms}");
            age.record(ms(200), at(200), 1, ms(203));
            assert_eq!(age.of_push(&granted, ms(4_000)).base, ms(300), "{other_ms}");
            // Nor does the other server date the grants of the first one.
            let base = age.of_push(&push(10_304), ms(4_000)).base;
            assert_eq!(base, ms(50), "{other_ms}");
        }
    }
}
