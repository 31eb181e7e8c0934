//! Checks whether recorded holds are consistent.

use std::fmt;

use super::{HoldInterval, Record, Share};

/// The statistics of a consistent history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of holds.
    pub holds: usize,
    /// The number of holds without an end, which could not be checked against later ones.
    pub unended: usize,
    /// The number of overlaps that a loss of the store's memory excuses.
    pub excused: usize,
    /// The number of holds with a lower fence than an earlier one. They were requested before the
    /// store lost its memory, and notified later.
    pub late: usize,
    /// How often a waiter could have been overtaken by a later request, and was not.
    pub in_order: usize,
    /// How often a waiter was overtaken that may have been unreachable.
    pub passed_over: usize,
}

/// Inconsistent holds of a name, in order of their begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The last hold began while the others had not ended, and excludes them or exceeds the limit.
    Overlap(Vec<HoldInterval>, HoldInterval),
    /// The fence of the second is not greater than that of the first.
    Fence(HoldInterval, HoldInterval),
    /// The second was queued and reachable before the first was requested.
    Order(HoldInterval, HoldInterval),
}

impl Record {
    pub(super) fn judge(&self) -> Result<Summary, Box<Violation>> {
        let mut summary = Summary {
            holds: self.holds.len(),
            unended: self.holds.iter().filter(|b| b.end_ns.is_none()).count(),
            ..Summary::default()
        };
        for holds in self.holds.chunk_by(|a, b| a.name == b.name) {
            self.judge_overlaps(holds, &mut summary)?;
            self.judge_fences(holds, &mut summary)?;
            self.judge_order(holds, &mut summary)?;
        }
        Ok(summary)
    }

    fn judge_overlaps(
        &self,
        holds: &[HoldInterval],
        summary: &mut Summary,
    ) -> Result<(), Box<Violation>> {
        let mut others: Vec<&HoldInterval> = Vec::new();
        for hold in holds {
            others.retain(|other| other.end_ns.is_some_and(|end| hold.begin_ns < end));
            if contradict(&others, hold) {
                if !self.is_excused(hold) {
                    let others = others.into_iter().cloned().collect();
                    return Err(Violation::Overlap(others, hold.clone()).into());
                }
                summary.excused += 1;
            }
            others.push(hold);
        }
        Ok(())
    }

    /// Sharers have no order among each other.
    fn judge_fences(
        &self,
        holds: &[HoldInterval],
        summary: &mut Summary,
    ) -> Result<(), Box<Violation>> {
        let (mut highest, mut highest_alone): (Option<&HoldInterval>, Option<&HoldInterval>) =
            (None, None);
        for hold in holds {
            let is_alone = hold.share == Share::Alone;
            let bar = if is_alone { highest } else { highest_alone };
            if let Some(bar) = bar.filter(|bar| hold.fence <= bar.fence) {
                if hold.fence == bar.fence || !self.is_late(hold) {
                    return Err(Violation::Fence(bar.clone(), hold.clone()).into());
                }
                summary.late += 1;
            }
            raise(&mut highest, hold);
            if is_alone {
                raise(&mut highest_alone, hold);
            }
        }
        Ok(())
    }

    /// Checks that grants are in the order of their fences.
    fn judge_order(
        &self,
        holds: &[HoldInterval],
        summary: &mut Summary,
    ) -> Result<(), Box<Violation>> {
        let waited = holds.iter().filter_map(|b| Some((b, b.queued_ns?)));
        for (waiter, queued) in waited {
            let later = holds.iter().filter_map(|b| Some((b, b.asked_ns?)));
            let later = later.filter(|(_, asked)| queued < *asked);
            for (other, _) in later {
                if waiter.fence < other.fence {
                    let could_overtake = other.asked_ns < Some(waiter.begin_ns);
                    summary.in_order += usize::from(could_overtake);
                } else if self.was_away(&waiter.owner, [queued, other.begin_ns]) {
                    summary.passed_over += 1;
                } else {
                    return Err(Violation::Order(other.clone(), waiter.clone()).into());
                }
            }
        }
        Ok(())
    }

    fn is_excused(&self, hold: &HoldInterval) -> bool {
        let mut spans = self.forgotten.iter();
        spans.any(|[from, to]| (*from..=*to).contains(&hold.begin_ns))
    }

    /// Returns whether the hold may have been granted before the store lost its memory, and
    /// notified later.
    fn is_late(&self, hold: &HoldInterval) -> bool {
        let mut spans = self.forgotten.iter();
        spans.any(|[from, to]| {
            let is_older = hold.asked_ns.is_some_and(|asked| asked <= *from);
            is_older && (*from..=*to).contains(&hold.begin_ns)
        })
    }

    fn was_away(&self, owner: &str, [from, to]: [u64; 2]) -> bool {
        let mut away = self.away.iter();
        away.any(|away| {
            let concerns = away.owner.as_ref().is_none_or(|one| one == owner);
            concerns && away.span[0] <= to && from <= away.span[1]
        })
    }
}

fn raise<'a>(highest: &mut Option<&'a HoldInterval>, hold: &'a HoldInterval) {
    if highest.is_none_or(|one| one.fence < hold.fence) {
        *highest = Some(hold);
    }
}

/// Returns whether a hold that begins now excludes any of the others, or exceeds the limit together
/// with them.
fn contradict(others: &[&HoldInterval], hold: &HoldInterval) -> bool {
    let (mut sum, mut most) = (0_u64, u64::MAX);
    for one in others.iter().copied().chain([hold]) {
        match one.share {
            Share::Alone => return !others.is_empty(),
            Share::Part { weight, limit } => {
                sum = sum.saturating_add(weight);
                most = most.min(limit);
            }
        }
    }
    most < sum
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap(others, hold) => write!(f, "{hold:?} overlaps {others:?}"),
            Self::Fence(first, second) => {
                write!(f, "{second:?} has no greater fence than {first:?}")
            }
            Self::Order(first, second) => write!(f, "{first:?} overtook {second:?}"),
        }
    }
}

impl std::error::Error for Violation {}
