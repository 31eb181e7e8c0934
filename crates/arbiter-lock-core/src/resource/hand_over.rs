//! Free with a queue: the first live waiter is granted, and so on until one cannot be.

use super::answer::Grant;
use super::rows::{Hold, Rows, Waiter};
use super::{Contender, Moment, Resource};

/// How many waiters one step grants or passes over at the most.
pub const MAX_STEPS: usize = 32;

/// How long a grant to one who has queued stands before its claim, in milliseconds.
const FIRST_LIFE_MS: u64 = 2_000;

/// The first life of a hold with that lease, in milliseconds.
#[must_use]
pub const fn first_life_ms(lease_ms: u64) -> u64 {
    if lease_ms < FIRST_LIFE_MS {
        lease_ms
    } else {
        FIRST_LIFE_MS
    }
}

/// Who makes the step, when it can be granted by it.
pub(super) struct Caller<'a> {
    pub(super) id: &'a str,
    /// Whether it came with a place, or had one.
    pub(super) has_queued: bool,
}

/// What a hand-over did.
#[derive(Default)]
pub(super) struct Handed {
    /// The caller's own grant: its fence and life in milliseconds.
    pub(super) mine: Option<(u64, u64)>,
    pub(super) granted: Vec<Grant>,
    pub(super) again: bool,
}

/// What is to be done with the waiter at the head.
enum Head {
    Nobody,
    Stays,
    PassedOver(Waiter),
    Granted(Waiter),
}

impl<R: Rows> Resource<R> {
    /// Grants from the head of the queue for as long as that is possible. `reach` says whether
    /// anybody listens on a channel; the caller is not asked, since its reply carries its grant.
    pub(super) fn hand_over(
        &mut self,
        now: Moment,
        caller: Option<&Caller<'_>>,
        reach: impl Fn(&str) -> bool,
    ) -> Handed {
        let mut handed = Handed::default();
        for _ in 0..MAX_STEPS {
            match self.head(now, caller, &reach) {
                Head::Nobody | Head::Stays => return handed,
                Head::PassedOver(waiter) => self.pass_over(waiter),
                Head::Granted(waiter) => self.grant_head(now, waiter, caller, &mut handed),
            }
        }
        handed.again = matches!(
            self.head(now, caller, &reach),
            Head::PassedOver(_) | Head::Granted(_)
        );
        handed
    }

    fn head(&self, now: Moment, caller: Option<&Caller<'_>>, reach: impl Fn(&str) -> bool) -> Head {
        if self.root().exclusive.is_some() {
            return Head::Stays;
        }
        let Some(waiter) = self.first_waiting() else {
            return Head::Nobody;
        };
        let is_caller = caller.is_some_and(|caller| caller.id == &*waiter.contender.id);
        if !self.is_live(&waiter, now) && !is_caller {
            Head::PassedOver(waiter)
        } else if !self.admits(waiter.contender.mode) {
            Head::Stays
        } else if !is_caller && !reach(&waiter.contender.channel) {
            Head::PassedOver(waiter)
        } else {
            Head::Granted(waiter)
        }
    }

    fn grant_head(
        &mut self,
        now: Moment,
        waiter: Waiter,
        caller: Option<&Caller<'_>>,
        handed: &mut Handed,
    ) {
        let contender = &waiter.contender;
        let caller = caller.filter(|caller| caller.id == &*contender.id);
        let has_queued = caller.is_none_or(|caller| caller.has_queued);
        self.leave(&contender.id);
        if has_queued {
            self.mark(&contender.id, now);
        }
        self.note_grant(now);
        let life_ms = if has_queued {
            first_life_ms(contender.lease_ms)
        } else {
            contender.lease_ms
        };
        let fence = self.hold(now, contender, life_ms);
        if caller.is_some() {
            handed.mine = Some((fence, life_ms));
        } else {
            handed.granted.push(Grant {
                request: contender.id.clone(),
                channel: contender.channel.clone(),
                fence,
                life_ms,
                at: now,
            });
        }
    }

    /// Draws a fence and writes the hold.
    pub(super) fn hold(&mut self, now: Moment, contender: &Contender, life_ms: u64) -> u64 {
        let fence = self.draw_fence(now);
        self.add_hold(Hold::new(contender, fence, now, life_ms), contender.mode);
        fence
    }
}
