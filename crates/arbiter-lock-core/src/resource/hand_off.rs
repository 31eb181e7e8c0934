//! The hand-off: a free resource grants its first live waiter, and so on until one must wait.

use super::answer::Grant;
use super::rows::{Hold, Rows, Waiter};
use super::{Contender, Moment, Resource};

/// How many waiters one step grants or skips at most.
pub const MAX_STEPS: usize = 32;

/// The TTL of an unclaimed grant to a waiter, in milliseconds.
const PROVISIONAL_TTL_MS: u64 = 2_000;

/// Returns the provisional TTL of a hold with the lease `lease_ms`, in milliseconds.
#[must_use]
pub const fn provisional_ttl_ms(lease_ms: u64) -> u64 {
    if lease_ms < PROVISIONAL_TTL_MS {
        lease_ms
    } else {
        PROVISIONAL_TTL_MS
    }
}

/// The request that makes the step, if the step can grant it.
pub(super) struct Caller<'a> {
    pub(super) id: &'a str,
    /// Whether it brought a ticket, or has been queued or granted before.
    pub(super) has_queued: bool,
}

/// The result of a hand-off.
#[derive(Default)]
pub(super) struct HandOff {
    /// The caller's own grant: its fence, and its TTL in milliseconds.
    pub(super) mine: Option<(u64, u64)>,
    pub(super) granted: Vec<Grant>,
    pub(super) again: bool,
}

/// The next action for the waiter at the head.
enum Head {
    Empty,
    Stays,
    Skipped(Waiter),
    Granted(Waiter),
}

impl<R: Rows> Resource<R> {
    /// Grants waiters from the head of the queue while that is possible.
    ///
    /// `reach` reports whether a client listens on a channel. It is not asked about the caller,
    /// whose reply carries its grant.
    pub(super) fn hand_off(
        &mut self,
        now: Moment,
        caller: Option<&Caller<'_>>,
        reach: impl Fn(&str) -> bool,
    ) -> HandOff {
        let mut hand_off = HandOff::default();
        for _ in 0..MAX_STEPS {
            match self.head(now, caller, &reach) {
                Head::Empty | Head::Stays => return hand_off,
                Head::Skipped(waiter) => self.skip_waiter(waiter),
                Head::Granted(waiter) => self.grant_head(now, waiter, caller, &mut hand_off),
            }
        }
        hand_off.again = matches!(
            self.head(now, caller, &reach),
            Head::Skipped(_) | Head::Granted(_)
        );
        hand_off
    }

    fn head(&self, now: Moment, caller: Option<&Caller<'_>>, reach: impl Fn(&str) -> bool) -> Head {
        if self.root().exclusive.is_some() {
            return Head::Stays;
        }
        let Some(waiter) = self.first_waiting() else {
            return Head::Empty;
        };
        let is_caller = caller.is_some_and(|caller| caller.id == &*waiter.contender.id);
        if !self.is_live(&waiter, now) && !is_caller {
            Head::Skipped(waiter)
        } else if !self.admits(waiter.contender.mode) {
            Head::Stays
        } else if !is_caller && !reach(&waiter.contender.channel) {
            Head::Skipped(waiter)
        } else {
            Head::Granted(waiter)
        }
    }

    fn grant_head(
        &mut self,
        now: Moment,
        waiter: Waiter,
        caller: Option<&Caller<'_>>,
        hand_off: &mut HandOff,
    ) {
        let contender = &waiter.contender;
        let caller = caller.filter(|caller| caller.id == &*contender.id);
        let has_queued = caller.is_none_or(|caller| caller.has_queued);
        self.leave(&contender.id);
        if has_queued {
            self.mark_granted(&contender.id, now);
        }
        self.note_grant(now);
        let ttl_ms = if has_queued {
            provisional_ttl_ms(contender.lease_ms)
        } else {
            contender.lease_ms
        };
        let fence = self.hold(now, contender, ttl_ms);
        if caller.is_some() {
            hand_off.mine = Some((fence, ttl_ms));
        } else {
            hand_off.granted.push(Grant {
                request: contender.id.clone(),
                channel: contender.channel.clone(),
                fence,
                ttl_ms,
                at: now,
            });
        }
    }

    /// Draws a fence and writes the hold.
    pub(super) fn hold(&mut self, now: Moment, contender: &Contender, ttl_ms: u64) -> u64 {
        let fence = self.draw_fence(now);
        self.add_hold(Hold::new(contender, fence, now, ttl_ms), contender.mode);
        fence
    }
}
