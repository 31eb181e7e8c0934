//! Who holds now: nobody, one alone, or several together.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::answer::HolderView;
use super::{Mode, Moment, Request};

/// What stands as owner while shared holders hold.
const SHARED_OWNER: &str = "shared";

/// One grant.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) owner: Arc<str>,
    /// None for a foreign holder.
    pub(super) fence: Option<u64>,
    weight: u32,
    since: Option<Moment>,
    /// The last millisecond of its life; none where somebody made it immortal.
    last_milli: Option<u64>,
    label: Arc<str>,
    pub(super) stopping: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Holds {
    #[default]
    Free,
    Exclusive(Hold),
    /// Never empty; `generation` is the fence of the first that came to a free resource.
    Shared {
        generation: u64,
        /// What they may weigh together.
        limit: Option<NonZeroU32>,
        holds: Vec<Hold>,
    },
}

impl Hold {
    pub(super) fn new(request: &Request, fence: u64, now: Moment, life_ms: u64) -> Self {
        Self {
            owner: request.id.clone(),
            fence: Some(fence),
            weight: request.mode.weight(),
            since: Some(now),
            last_milli: Some(now.last_milli(life_ms)),
            label: request.label.clone(),
            stopping: false,
        }
    }

    pub(super) fn foreign(owner: &str, last_milli: Option<u64>) -> Self {
        Self {
            owner: owner.into(),
            fence: None,
            weight: 0,
            since: None,
            last_milli,
            label: "".into(),
            stopping: false,
        }
    }

    fn stands(&self, now: Moment) -> bool {
        self.last_milli.is_none_or(|last| now.as_millis() <= last)
    }

    /// What is left of its life; none where it has no end.
    pub(super) fn remaining_ms(&self, now: Moment) -> Option<u64> {
        self.last_milli
            .map(|last| last.saturating_sub(now.as_millis()))
    }

    /// Sets a life of at least `life_ms`, never a shorter one, and answers what it is.
    pub(super) fn prolong(&mut self, now: Moment, life_ms: u64) -> u64 {
        let life = self
            .remaining_ms(now)
            .map_or(life_ms, |left| left.max(life_ms));
        self.last_milli = Some(now.last_milli(life));
        life
    }

    fn view(&self, now: Moment) -> HolderView {
        HolderView {
            owner: self.owner.clone(),
            fence: self.fence,
            since: self.since,
            remaining_ms: self.remaining_ms(now),
            label: self.label.clone(),
        }
    }
}

impl Holds {
    /// Ends the holds whose life is over; answers whether there were any.
    pub(super) fn lapse(&mut self, now: Moment) -> bool {
        self.drop_where(|hold| !hold.stands(now))
    }

    /// Ends the hold of that owner; answers whether there was one.
    pub(super) fn remove(&mut self, owner: &str) -> bool {
        self.drop_where(|hold| &*hold.owner == owner)
    }

    fn drop_where(&mut self, over: impl Fn(&Hold) -> bool) -> bool {
        match self {
            Self::Free => false,
            Self::Exclusive(hold) => {
                let drop = over(hold);
                if drop {
                    *self = Self::Free;
                }
                drop
            }
            Self::Shared { holds, .. } => {
                let before = holds.len();
                holds.retain(|hold| !over(hold));
                let dropped = holds.len() < before;
                if holds.is_empty() {
                    *self = Self::Free;
                }
                dropped
            }
        }
    }

    pub(super) fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }

    /// Whether a hold of that mode may join those that stand.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        match (self, mode) {
            (Self::Free, _) => true,
            (Self::Shared { limit, holds, .. }, Mode::Shared { weight, .. }) => {
                let held: u64 = holds.iter().map(|hold| u64::from(hold.weight)).sum();
                limit.is_none_or(|limit| held + u64::from(weight.get()) <= u64::from(limit.get()))
            }
            _ => false,
        }
    }

    /// The limit that the shared holds have stated; none where there are no shared holds.
    pub(super) fn limit(&self) -> Option<Option<NonZeroU32>> {
        match self {
            Self::Shared { limit, .. } => Some(*limit),
            _ => None,
        }
    }

    /// Adds a hold that [`Holds::admits`] has admitted.
    pub(super) fn add(&mut self, hold: Hold, mode: Mode) {
        match (&mut *self, mode) {
            (_, Mode::Exclusive) => *self = Self::Exclusive(hold),
            (Self::Shared { holds, .. }, _) => holds.push(hold),
            (_, Mode::Shared { limit, .. }) => {
                *self = Self::Shared {
                    generation: hold.fence.unwrap_or_default(),
                    limit,
                    holds: vec![hold],
                };
            }
        }
    }

    /// The hold of ours that `wanted` describes.
    pub(super) fn find(&mut self, wanted: impl Fn(&Hold) -> bool) -> Option<&mut Hold> {
        let holds: &mut [Hold] = match self {
            Self::Free => &mut [],
            Self::Exclusive(hold) => std::slice::from_mut(hold),
            Self::Shared { holds, .. } => holds,
        };
        holds.iter_mut().find(|hold| wanted(hold))
    }

    /// Changes every life, as a foreign hand may.
    pub(super) fn set_last_milli(&mut self, last_milli: Option<u64>) {
        match self {
            Self::Free => {}
            Self::Exclusive(hold) => hold.last_milli = last_milli,
            Self::Shared { holds, .. } => {
                holds
                    .iter_mut()
                    .for_each(|hold| hold.last_milli = last_milli);
            }
        }
    }

    pub(super) fn view(&self, now: Moment) -> Option<HolderView> {
        match self {
            Self::Free => None,
            Self::Exclusive(hold) => hold.stands(now).then(|| hold.view(now)),
            Self::Shared {
                generation, holds, ..
            } => {
                let longest = holds
                    .iter()
                    .filter(|hold| hold.stands(now))
                    .max_by_key(|hold| hold.last_milli.unwrap_or(u64::MAX))?;
                Some(HolderView {
                    owner: SHARED_OWNER.into(),
                    fence: Some(*generation),
                    ..longest.view(now)
                })
            }
        }
    }
}
