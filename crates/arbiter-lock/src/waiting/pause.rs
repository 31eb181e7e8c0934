//! How long one that waits lets pass until its next look.

use std::time::Duration;

use arbiter_lock_core::{HolderView, LOOK_INTERVAL_MS};

/// How often the head of the queue looks while the holder is foreign: a foreign release
/// announces nothing.
const FOREIGN_LOOK: Duration = Duration::from_millis(50);

/// The time until the next look of one at that place, with a first life of `first_life`; `chance`
/// is drawn from zero to one.
pub(super) fn until_next_look(
    first_life: Duration,
    place: u64,
    holder: Option<&HolderView>,
    chance: f64,
) -> Duration {
    let mean = Duration::from_millis(LOOK_INTERVAL_MS).min(first_life / 2);
    let jittered = mean.mul_f64(0.9 + 0.2 * chance);
    let (1, Some(holder)) = (place, holder) else {
        return jittered;
    };
    // A life lasts to the end of its last millisecond.
    let lapse = holder
        .remaining_ms
        .map_or(jittered, |ms| Duration::from_millis(ms.saturating_add(1)));
    let foreign = if holder.fence.is_none() {
        FOREIGN_LOOK
    } else {
        jittered
    };
    jittered.min(lapse).min(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const LONG: Duration = ms(2_000);

    fn holder(fence: Option<u64>, remaining_ms: Option<u64>) -> HolderView {
        HolderView {
            owner: "o".into(),
            fence,
            since: None,
            remaining_ms,
            label: "".into(),
        }
    }

    #[test]
    fn a_look_comes_a_tenth_before_or_after_its_time() {
        assert_eq!(until_next_look(LONG, 2, None, 0.0), ms(900));
        assert_eq!(until_next_look(LONG, 2, None, 0.5), ms(1_000));
        assert_eq!(until_next_look(LONG, 2, None, 1.0), ms(1_100));
    }

    #[test]
    fn one_with_a_short_first_life_looks_twice_in_it() {
        assert_eq!(until_next_look(ms(300), 2, None, 0.5), ms(150));
    }

    #[test]
    fn only_the_first_in_the_queue_looks_when_the_hold_lapses() {
        let lapsing = holder(Some(7), Some(40));
        assert_eq!(until_next_look(LONG, 1, Some(&lapsing), 0.5), ms(41));
        assert_eq!(until_next_look(LONG, 2, Some(&lapsing), 0.5), ms(1_000));
        let lasting = holder(Some(7), None);
        assert_eq!(until_next_look(LONG, 1, Some(&lasting), 0.5), ms(1_000));
    }

    #[test]
    fn the_first_in_the_queue_looks_often_behind_one_that_announces_no_release() {
        let foreign = holder(None, Some(30_000));
        assert_eq!(until_next_look(LONG, 1, Some(&foreign), 0.5), FOREIGN_LOOK);
        assert_eq!(until_next_look(LONG, 2, Some(&foreign), 0.5), ms(1_000));
        let lapsing = holder(None, Some(10));
        assert_eq!(until_next_look(LONG, 1, Some(&lapsing), 0.5), ms(11));
    }
}
