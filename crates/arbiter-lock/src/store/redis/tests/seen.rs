//! How often each kind of transition was seen.

use std::collections::BTreeMap;

/// How often each kind of transition was seen.
#[derive(Default)]
pub(super) struct Seen(pub(super) BTreeMap<&'static str, usize>);

const KINDS: [&str; 68] = [
    "granted at once",
    "granted by a poll",
    "own grant found",
    "queued",
    "place kept",
    "granted marker met",
    "queued, more to do",
    "acquire of an ended request",
    "behind an external holder",
    "behind a holder without an end",
    "try granted",
    "try busy",
    "try busy, more to do",
    "try of an ended request",
    "try hands off",
    "poll hands off to another",
    "renewed",
    "stopping",
    "taken",
    "gone",
    "released",
    "released and handed off",
    "left",
    "end hands off for another",
    "end of nothing",
    "end beside a holder",
    "end, more to do",
    "broken",
    "broken and handed off",
    "asked to stop",
    "external hold broken",
    "not held",
    "fence ahead of the clock",
    "skipped: no listener",
    "skipped: dead",
    "waiters listed",
    "beside others",
    "several granted at once",
    "refused: above the limit",
    "refused: another limit",
    "refused after the grant of another",
    "granted past the limit of dead waiters",
    "follows the limit in force",
    "behind shared holds",
    "expiry of a later hold awaited",
    "no expiry awaited behind sharers",
    "own shared hold found",
    "shared hold renewed",
    "shared hold stopping",
    "shared hold released, others stay",
    "shared hold broken, others stay",
    "shared hold expired, others stay",
    "downgraded",
    "downgraded and handed off",
    "downgraded again",
    "downgrade refused",
    "transferred",
    "transferred again",
    "shared hold transferred",
    "stopping, not transferred",
    "not transferred",
    "resized",
    "resized and handed off",
    "nothing to resize",
    "proclaimed",
    "run begun",
    "run ended",
    "run forgotten",
];

impl Seen {
    /// Adds the counts of another walk.
    pub(super) fn add(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    pub(super) fn count(&mut self, kind: &'static str, seen: bool) {
        assert!(KINDS.contains(&kind), "{kind}");
        *self.0.entry(kind).or_default() += usize::from(seen);
    }

    pub(super) fn rarest(&self) -> (&'static str, usize) {
        let times = |kind| (kind, self.0.get(kind).copied().unwrap_or(0));
        KINDS
            .into_iter()
            .map(times)
            .min_by_key(|(_, times)| *times)
            .expect("there are kinds")
    }
}
