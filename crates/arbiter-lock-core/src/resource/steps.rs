//! The steps: `acquire`, `try_acquire`, `renew`, `end`, `break_hold` and `inspect`.

use std::num::NonZeroU32;

use super::answer::{Acquired, Answer, Broken, Ended, Refusal, Renewed, Tried};
use super::hand_over::{Caller, Handed, first_life_ms};
use super::rows::{Hold, Rows, Waiter};
use super::status::{SharerView, SharingView, Status, WaiterView};
use super::{Contender, Limit, Mode, Moment, Resource};

impl<R: Rows> Resource<R> {
    /// Grants the request, or queues it; repeated, it says that the waiter lives (a *look*).
    ///
    /// `ticket` is the one that an earlier answer gave, so that a place survives a lost queue.
    /// `reach` says whether anybody listens on a channel.
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
        if self.is_buried(id) {
            let handed = self.hand_over(now, None, reach);
            return Answer::only(Acquired::Ended).after(handed.granted);
        }
        let has_queued = ticket.is_some() || self.has_place(id) || self.is_marked(id);
        let life_ms = if has_queued {
            first_life_ms(contender.lease_ms)
        } else {
            contender.lease_ms
        };
        if let Some((fence, life_ms)) = self.repeat(now, id, life_ms) {
            return Answer::only(Acquired::Granted { fence, life_ms });
        }
        let caller = Caller { id, has_queued };
        let (refusal, before) = self.settled_refusal(now, contender, Some(&caller), &reach);
        if let Some((fence, life_ms)) = before.mine {
            let reply = Acquired::Granted { fence, life_ms };
            return Answer::only(reply).after(before.granted);
        }
        if let Some(refusal) = refusal {
            return Answer::only(Acquired::Refused(refusal)).after(before.granted);
        }
        if !self.root().has_queue() && self.admits(contender.mode) {
            let fence = self.hold(now, contender, life_ms);
            if has_queued {
                self.mark(&contender.id, now);
                self.note_grant(now);
            }
            return Answer::only(Acquired::Granted { fence, life_ms });
        }
        let ticket = self.look(contender, ticket, now);
        let handed = self.hand_over(now, Some(&caller), reach);
        self.acquired(now, ticket, handed).after(before.granted)
    }

    /// Why the request is refused. Where nobody holds, the limit of those who wait counts only
    /// once the dead among them have been passed over.
    fn settled_refusal(
        &mut self,
        now: Moment,
        contender: &Contender,
        caller: Option<&Caller<'_>>,
        reach: impl Fn(&str) -> bool,
    ) -> (Option<Refusal>, Handed) {
        let refusal = self.refusal(contender);
        if refusal.is_none() || !self.is_free() {
            return (refusal, Handed::default());
        }
        let handed = self.hand_over(now, caller, reach);
        (self.refusal(contender), handed)
    }

    fn acquired(&self, now: Moment, ticket: u64, handed: Handed) -> Answer<Acquired> {
        let reply = match handed.mine {
            Some((fence, life_ms)) => Acquired::Granted { fence, life_ms },
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
            granted: handed.granted,
            // A granted caller cannot go on: those behind it go on at their own looks.
            again: handed.again && handed.mine.is_none(),
        }
    }

    /// Grants the request if that is possible at once and nobody live comes first. It leaves
    /// no trace otherwise, and never barges.
    pub fn try_acquire(
        &mut self,
        now: Moment,
        contender: &Contender,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Tried> {
        self.settle(now);
        self.prune_queue(now);
        if self.is_buried(&contender.id) {
            let handed = self.hand_over(now, None, reach);
            return Answer::only(Tried::Ended).after(handed.granted);
        }
        if let Some((fence, life_ms)) = self.repeat(now, &contender.id, contender.lease_ms) {
            return Answer::only(Tried::Granted { fence, life_ms });
        }
        // One that waits is granted in its order, and only once: perhaps by the very next line.
        let waits = self.has_place(&contender.id);
        let (refusal, before) = self.settled_refusal(now, contender, None, &reach);
        if let Some(refusal) = refusal {
            return Answer::only(Tried::Refused(refusal)).after(before.granted);
        }
        let Handed { granted, again, .. } = self.hand_over(now, None, reach);
        let reply = if !again && !waits && self.root().waiting == 0 && self.admits(contender.mode) {
            if self.root().has_queue() {
                self.note_grant(now);
            }
            let fence = self.hold(now, contender, contender.lease_ms);
            Tried::Granted {
                fence,
                life_ms: contender.lease_ms,
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

    /// The request's own hold, found again by a repeated step: its fence and its life.
    fn repeat(&mut self, now: Moment, id: &str, life_ms: u64) -> Option<(u64, u64)> {
        let mut hold = self.hold_of(id)?;
        let fence = hold.fence?;
        let life_ms = hold.prolong(now, life_ms);
        self.put_hold(hold);
        Some((fence, life_ms))
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

    /// Prolongs the hold that has this owner *and* this fence. It never creates one, never
    /// shortens one, and hands nothing over.
    pub fn renew(&mut self, now: Moment, owner: &str, fence: u64, lease_ms: u64) -> Renewed {
        self.settle(now);
        let found = self.hold_of(owner);
        match found.filter(|hold| hold.fence == Some(fence)) {
            None => Renewed::NotYours {
                taken: !self.is_free(),
            },
            Some(hold) if hold.stopping => Renewed::Stopping {
                life_ms: hold.remaining_ms(now).unwrap_or(lease_ms),
            },
            Some(mut hold) => {
                let life_ms = hold.prolong(now, lease_ms);
                self.put_hold(hold);
                Renewed::Renewed { life_ms }
            }
        }
    }

    /// Releases or abandons: frees what the request holds, or leaves the queue, and hands
    /// over. With `tombstone`, an acquire of this request that arrives late is answered
    /// *ended*.
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
            self.bury(id, now);
        }
        let reply = match (hold.is_some(), waited) {
            (true, _) => Ended::Released,
            (false, true) => Ended::Left,
            (false, false) => Ended::NotYours,
        };
        let Handed { granted, again, .. } = self.hand_over(now, None, reach);
        Answer {
            reply,
            granted,
            again,
        }
    }

    /// An operator's break of the hold with that fence: at once, or by asking the holder to
    /// stop and prolonging the hold no more.
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
        if !at_once {
            hold.stopping = true;
            let remaining_ms = hold.remaining_ms(now);
            self.put_hold(hold);
            return Answer::only(Broken::Asked { remaining_ms });
        }
        self.free(&hold);
        let Handed { granted, again, .. } = self.hand_over(now, None, reach);
        Answer {
            reply: Broken::Freed,
            granted,
            again,
        }
    }

    /// What can be seen, without changing anything.
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
                .filter(|hold| hold.stands(now))
                .and_then(|hold| hold.value.clone()),
            sharing: self.sharing_view(now),
            waiting: waiting.unwrap_or_default(),
            waiters: first.into_iter().flatten().map(view).collect(),
        }
    }

    fn sharing_view(&self, now: Moment) -> Option<SharingView> {
        let sharing = self.root().sharing?;
        let lapsed = self.rows.lapsed(now.as_millis());
        let lapsed_weight: u64 = lapsed.iter().map(|hold| u64::from(hold.weight)).sum();
        let count = sharing.count - lapsed.len() as u64;
        let last = self.rows.last_to_lapse(Status::MOST_SHARERS);
        let view = |hold: Hold| SharerView {
            weight: hold.weight,
            holder: hold.view(now),
        };
        (0 < count).then(|| SharingView {
            limit: sharing.limit.map(NonZeroU32::get),
            weight: sharing.weight - lapsed_weight,
            count,
            holders: last
                .into_iter()
                .filter(|hold| hold.stands(now))
                .map(view)
                .collect(),
        })
    }

    /// Ends a hold by its holder's or an operator's will.
    pub(super) fn free(&mut self, hold: &Hold) {
        self.drop_hold(hold);
        self.grant_ended(hold);
    }
}
