//! The steps: `acquire`, `try_acquire`, `renew`, `end`, `break_hold` and `inspect`.

use std::num::NonZeroU32;

use super::answer::{Acquired, Answer, Broken, Ended, Refusal, Renewed, Tried};
use super::hand_off::{Caller, HandOff, provisional_ttl_ms};
use super::rows::{Hold, Rows, Waiter};
use super::status::{SharerView, SharingView, Status, WaiterView};
use super::{Contender, Limit, Mode, Moment, Resource, is_detached};

impl<R: Rows> Resource<R> {
    /// Grants the request, or queues it. Repeated, it is a *poll*, which keeps the waiter live.
    ///
    /// `ticket` is the one from an earlier reply, so that a place survives a lost queue.
    /// `reach` reports whether a client listens on a channel.
    pub fn acquire(
        &mut self,
        now: Moment,
        contender: &Contender,
        ticket: Option<u64>,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Acquired> {
        self.settle(now);
        self.prune_queue(now);
        let id = &*contender.id;
        if self.has_tombstone(id) {
            let hand_off = self.hand_off(now, None, reach);
            return Answer::only(Acquired::Ended).after(hand_off.granted);
        }
        let has_queued = ticket.is_some() || self.has_place(id) || self.has_granted_marker(id);
        let ttl_ms = if has_queued {
            provisional_ttl_ms(contender.lease_ms)
        } else {
            contender.lease_ms
        };
        if let Some((fence, ttl_ms)) = self.repeat(now, id, ttl_ms) {
            return Answer::only(Acquired::Granted { fence, ttl_ms });
        }
        let caller = Caller { id, has_queued };
        let (refusal, before) = self.settled_refusal(now, contender, Some(&caller), &reach);
        if let Some((fence, ttl_ms)) = before.mine {
            let reply = Acquired::Granted { fence, ttl_ms };
            return Answer::only(reply).after(before.granted);
        }
        if let Some(refusal) = refusal {
            return Answer::only(Acquired::Refused(refusal)).after(before.granted);
        }
        if !self.root().has_queue() && self.admits(contender.mode) {
            let fence = self.hold(now, contender, ttl_ms);
            if has_queued {
                self.mark_granted(&contender.id, now);
                self.note_grant(now);
            }
            return Answer::only(Acquired::Granted { fence, ttl_ms });
        }
        let ticket = self.enqueue(contender, ticket, now);
        let hand_off = self.hand_off(now, Some(&caller), reach);
        self.acquired(now, ticket, hand_off).after(before.granted)
    }

    /// Returns the reason to refuse the request, if any. If the resource is free, it hands off
    /// first: the limit of the waiters counts only once the dead ones have been skipped.
    fn settled_refusal(
        &mut self,
        now: Moment,
        contender: &Contender,
        caller: Option<&Caller<'_>>,
        reach: impl Fn(&str) -> bool,
    ) -> (Option<Refusal>, HandOff) {
        let refusal = self.refusal(contender);
        if refusal.is_none() || !self.is_free() {
            return (refusal, HandOff::default());
        }
        let hand_off = self.hand_off(now, caller, reach);
        (self.refusal(contender), hand_off)
    }

    fn acquired(&self, now: Moment, ticket: u64, hand_off: HandOff) -> Answer<Acquired> {
        let reply = match hand_off.mine {
            Some((fence, ttl_ms)) => Acquired::Granted { fence, ttl_ms },
            None => {
                let place = self.place(ticket);
                Acquired::Queued {
                    ticket,
                    place,
                    holder: self.holder(now),
                    awaited_expiry_ms: self.awaited_expiry_ms(now, place),
                }
            }
        };
        Answer {
            reply,
            granted: hand_off.granted,
            // A granted caller does not repeat: the next waiters continue at their own polls.
            again: hand_off.again && hand_off.mine.is_none(),
        }
    }

    /// Grants the request if that is possible at once and no live waiter comes first. Otherwise it
    /// leaves no trace. It never barges.
    pub fn try_acquire(
        &mut self,
        now: Moment,
        contender: &Contender,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Tried> {
        self.settle(now);
        self.prune_queue(now);
        if self.has_tombstone(&contender.id) {
            let hand_off = self.hand_off(now, None, reach);
            return Answer::only(Tried::Ended).after(hand_off.granted);
        }
        if let Some((fence, ttl_ms)) = self.repeat(now, &contender.id, contender.lease_ms) {
            return Answer::only(Tried::Granted { fence, ttl_ms });
        }
        // A waiter is granted in its order, and only once: perhaps by the very next line.
        let waits = self.has_place(&contender.id);
        let (refusal, before) = self.settled_refusal(now, contender, None, &reach);
        if let Some(refusal) = refusal {
            return Answer::only(Tried::Refused(refusal)).after(before.granted);
        }
        let HandOff { granted, again, .. } = self.hand_off(now, None, reach);
        let reply = if !again && !waits && self.root().waiting == 0 && self.admits(contender.mode) {
            if self.root().has_queue() {
                self.note_grant(now);
            }
            let fence = self.hold(now, contender, contender.lease_ms);
            Tried::Granted {
                fence,
                ttl_ms: contender.lease_ms,
            }
        } else {
            Tried::Busy {
                holder: self.holder(now),
                waiting: self.root().waiting,
            }
        };
        let answer = Answer {
            reply,
            granted,
            again,
        };
        answer.after(before.granted)
    }

    /// Extends the request's own hold, found by a repeated step; returns its fence and its TTL.
    fn repeat(&mut self, now: Moment, id: &str, ttl_ms: u64) -> Option<(u64, u64)> {
        let mut hold = self.hold_of(id)?;
        let fence = hold.fence?;
        let ttl_ms = hold.prolong(now, ttl_ms);
        self.put_hold(hold);
        Some((fence, ttl_ms))
    }

    fn refusal(&self, contender: &Contender) -> Option<Refusal> {
        let Mode::Shared { weight, limit } = contender.mode else {
            return None;
        };
        let limit = match (self.limit_in_force(), limit) {
            (None, _) => limit.first(),
            (Some(Some(stored)), Limit::Followed(_)) => Some(stored),
            (Some(stored), _) if stored != limit.first() => {
                return Some(Refusal::LimitDiffers {
                    limit: stored.map(NonZeroU32::get),
                });
            }
            (Some(stored), _) => stored,
        };
        let above = limit.filter(|limit| *limit < weight);
        above.map(|limit| Refusal::AboveLimit { limit: limit.get() })
    }

    /// Extends the hold with this owner *and* this fence. It never creates a hold, never shortens
    /// one, and does not hand off.
    pub fn renew(&mut self, now: Moment, owner: &str, fence: u64, lease_ms: u64) -> Renewed {
        self.settle(now);
        let found = self.hold_of(owner);
        match found.filter(|hold| hold.fence == Some(fence)) {
            None => Renewed::NotYours {
                taken: !self.is_free(),
            },
            Some(hold) if hold.stopping => Renewed::Stopping {
                ttl_ms: hold.remaining_ms(now).unwrap_or(lease_ms),
            },
            Some(mut hold) => {
                let ttl_ms = hold.prolong(now, lease_ms);
                self.put_hold(hold);
                Renewed::Renewed { ttl_ms }
            }
        }
    }

    /// Releases the request's hold or removes the request from the queue, and hands off.
    ///
    /// With `tombstone`, an acquire of this request that arrives late is answered *ended*.
    pub fn end(
        &mut self,
        now: Moment,
        id: &str,
        tombstone: bool,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Ended> {
        self.settle(now);
        let hold = self.hold_of(id).filter(|hold| hold.fence.is_some());
        if let Some(hold) = &hold {
            self.free(hold);
        }
        let waited = self.leave(id);
        if tombstone {
            self.leave_tombstone(id, now);
        }
        let reply = match (hold.is_some(), waited) {
            (true, _) => Ended::Released,
            (false, true) => Ended::Left,
            (false, false) => Ended::NotYours {
                taken: !self.is_free(),
            },
        };
        let HandOff { granted, again, .. } = self.hand_off(now, None, reach);
        Answer {
            reply,
            granted,
            again,
        }
    }

    /// Breaks the hold with that fence, for an operator. Either ends it at once, or asks its holder
    /// to stop and no longer extends it. A detached hold has no process to ask, and ends at once.
    pub fn break_hold(
        &mut self,
        now: Moment,
        fence: u64,
        at_once: bool,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Broken> {
        self.settle(now);
        let Some(mut hold) = self.hold_of_fence(fence) else {
            return Answer::only(Broken::NotHeld);
        };
        if !at_once && !is_detached(&hold.owner) {
            hold.stopping = true;
            let remaining_ms = hold.remaining_ms(now);
            self.put_hold(hold);
            return Answer::only(Broken::Asked { remaining_ms });
        }
        self.end_for_operator(now, &hold, reach)
    }

    /// Ends the external hold of that owner, for an operator. Such a hold has no fence.
    pub fn break_external(
        &mut self,
        now: Moment,
        owner: &str,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Broken> {
        self.settle(now);
        let alone = self.root().exclusive.clone();
        let Some(hold) = alone.filter(|hold| hold.fence.is_none() && &*hold.owner == owner) else {
            return Answer::only(Broken::NotHeld);
        };
        self.end_for_operator(now, &hold, reach)
    }

    fn end_for_operator(
        &mut self,
        now: Moment,
        hold: &Hold,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Broken> {
        self.free(hold);
        let HandOff { granted, again, .. } = self.hand_off(now, None, reach);
        Answer {
            reply: Broken::Freed,
            granted,
            again,
        }
    }

    /// Returns the visible state, without changing anything.
    #[must_use]
    pub fn inspect(&self, now: Moment) -> Status {
        let remembered = !self.queue_has_expired(now);
        let waiting = Some(self.root().waiting).filter(|n| remembered && 0 < *n);
        let first = waiting.map(|_| self.rows.first_waiters(Status::MOST_WAITERS));
        let view = |w: Waiter| WaiterView {
            ticket: w.ticket,
            label: w.contender.label,
        };
        let alone = self.root().exclusive.as_ref();
        Status {
            holder: self.holder(now),
            value: alone
                .filter(|hold| hold.is_in_force(now))
                .and_then(|hold| hold.value.clone()),
            sharing: self.sharing_view(now),
            waiting: waiting.unwrap_or_default(),
            waiters: first.into_iter().flatten().map(view).collect(),
        }
    }

    fn sharing_view(&self, now: Moment) -> Option<SharingView> {
        let sharing = self.root().sharing?;
        let expired = self.rows.expired(now.as_millis());
        let expired_weight: u64 = expired.iter().map(|hold| u64::from(hold.weight)).sum();
        let count = sharing.count - expired.len() as u64;
        let last = self.rows.last_to_expire(Status::MOST_SHARERS);
        let view = |hold: Hold| SharerView {
            weight: hold.weight,
            holder: hold.view(now),
        };
        (0 < count).then(|| SharingView {
            limit: sharing.limit.map(NonZeroU32::get),
            weight: sharing.weight - expired_weight,
            count,
            holders: last
                .into_iter()
                .filter(|hold| hold.is_in_force(now))
                .map(view)
                .collect(),
        })
    }

    /// Ends a hold that its holder releases or an operator breaks.
    pub(super) fn free(&mut self, hold: &Hold) {
        self.drop_hold(hold);
        self.grant_ended(hold);
    }
}
