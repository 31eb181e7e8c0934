//! The time between two polls of a waiter.

use std::time::Duration;

use arbiter_lock_core::{EXPIRY_WATCHERS, HolderView, POLL_INTERVAL_MS};

/// How often the head of the queue polls while the holder is external: no push announces its
/// release.
const EXTERNAL_POLL: Duration = Duration::from_millis(50);

/// The least time between two polls that follow expiries, of one waiter and of its neighbors. It
/// limits the polls if many holds expire shortly after one another.
const BETWEEN_EXPIRIES: Duration = Duration::from_millis(20);

/// Returns the time until the next poll of a waiter.
///
/// `provisional_ttl` is its provisional TTL, and `place` is its place in the queue. `expiry_ms` is
/// the time to the expiry that it awaits. `random` is drawn from 0 to 1.
pub(super) fn until_next_poll(
    provisional_ttl: Duration,
    place: u64,
    holder: Option<&HolderView>,
    expiry_ms: Option<u64>,
    random: f64,
) -> Duration {
    let mean = Duration::from_millis(POLL_INTERVAL_MS).min(provisional_ttl / 2);
    let jittered = mean.mul_f64(0.9 + 0.2 * random);
    let behind_head = place.clamp(1, EXPIRY_WATCHERS) - 1;
    // A TTL lasts to the end of its last millisecond.
    let turn = expiry_ms.map_or(jittered, |ms| {
        let expired = Duration::from_millis(ms.saturating_add(1)).max(BETWEEN_EXPIRIES);
        expired + BETWEEN_EXPIRIES * behind_head as u32
    });
    let is_external = holder.is_some_and(|holder| holder.fence.is_none());
    let external = if is_external && place == 1 {
        EXTERNAL_POLL
    } else {
        jittered
    };
    jittered.min(turn).min(external)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const LONG: Duration = ms(2_000);

    /// Returns the time until the next poll of the head behind a holder of this library.
    fn pause(provisional_ttl: Duration, expiry_ms: Option<u64>, random: f64) -> Duration {
        until_next_poll(
            provisional_ttl,
            1,
            Some(&holder(Some(7))),
            expiry_ms,
            random,
        )
    }

    fn holder(fence: Option<u64>) -> HolderView {
        HolderView {
            owner: "o".into(),
            fence,
            since: None,
            remaining_ms: Some(1),
            label: "".into(),
        }
    }

    #[test]
    fn poll_interval_varies_by_a_tenth() {
        assert_eq!(pause(LONG, None, 0.0), ms(900));
        assert_eq!(pause(LONG, None, 0.5), ms(1_000));
        assert_eq!(pause(LONG, None, 1.0), ms(1_100));
        assert_eq!(until_next_poll(LONG, 2, None, None, 0.5), ms(1_000));
    }

    #[test]
    fn waiter_polls_twice_per_short_provisional_ttl() {
        assert_eq!(pause(ms(300), None, 0.5), ms(150));
    }

    #[test]
    fn head_polls_when_the_hold_expires() {
        assert_eq!(pause(LONG, Some(40), 0.5), ms(41));
        assert_eq!(pause(LONG, Some(999), 0.5), ms(1_000));
        assert_eq!(pause(LONG, Some(u64::MAX), 0.5), ms(1_000));
    }

    #[test]
    fn polls_that_follow_expiries_are_twenty_ms_apart() {
        for expiry_ms in [0, 1, 19] {
            assert_eq!(pause(LONG, Some(expiry_ms), 0.5), BETWEEN_EXPIRIES);
        }
        // But not less often than its provisional TTL demands.
        assert_eq!(pause(ms(20), Some(3), 0.5), ms(10));
    }

    #[test]
    fn head_polls_often_behind_an_external_holder() {
        let external = holder(None);
        let pause =
            |place, expiry_ms| until_next_poll(LONG, place, Some(&external), expiry_ms, 0.5);
        assert_eq!(pause(1, Some(30_000)), EXTERNAL_POLL);
        assert_eq!(pause(1, None), EXTERNAL_POLL);
        assert_eq!(pause(1, Some(30)), ms(31));
        assert_eq!(pause(2, None), ms(1_000));
    }

    #[test]
    fn waiters_behind_the_head_poll_one_after_another() {
        let holder = holder(Some(7));
        let pauses = [1, 2, 3, 4, 5, 90].map(|place| {
            let pause = until_next_poll(LONG, place, Some(&holder), Some(40), 0.5);
            pause.as_millis()
        });
        assert_eq!(pauses, [41, 61, 81, 101, 101, 101]);
    }
}
