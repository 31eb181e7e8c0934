//! The store: one name, and its steps. It also has facts that only the invariants read: the order
//! of arrival, and the highest fence.

use crate::requests::{Request, Requests};
use crate::rule::{Rule, Rules};
use crate::{Invariant, LEASE, LIVE, PROVISIONAL_TTL};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    hold: Option<Hold>,
    last: u8,
    queue: Vec<Waiter>,
    marks: Requests,
    tombstones: Requests,
    arrivals: Vec<Request>,
    highest: u8,
    pub(crate) violated: Option<Invariant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) of: Request,
    pub(crate) fence: u8,
    pub(crate) left: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    of: Request,
    /// Ticks since its last poll.
    polled: u8,
    /// Whether it has polled since the last grant.
    since_grant: bool,
    /// Whether it has not polled since a grant that expired.
    is_below_cutoff: bool,
}

/// The answer to a question, and the other grants to publish.
pub(crate) struct Answer<T> {
    pub(crate) reply: T,
    pub(crate) pushed: Vec<Hold>,
}

pub(crate) enum Acquired {
    Granted(Hold),
    Queued,
    Busy,
    Ended,
}

/// A step: the store, the rules that it keeps, and the clients that listen.
pub(crate) struct Step<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) rules: Rules,
    pub(crate) listens: &'a dyn Fn(Request) -> bool,
    pub(crate) pushed: Vec<Hold>,
}

impl Store {
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Returns whether any request that holds or waits matches.
    pub(crate) fn any(&self, is_such: impl Fn(Request) -> bool) -> bool {
        let holder = self.hold.iter().map(|hold| hold.of);
        let mut all = self.queue.iter().map(|waiter| waiter.of).chain(holder);
        all.any(is_such)
    }

    /// Deletes the key, as an operator.
    pub(crate) fn delete(&mut self) -> Option<Hold> {
        self.hold.take()
    }

    /// Advances time; returns whether a hold has expired.
    pub(crate) fn tick(&mut self) -> bool {
        for waiter in &mut self.queue {
            waiter.polled = (waiter.polled + 1).min(LIVE + 1);
        }
        let Some(hold) = &mut self.hold else {
            return false;
        };
        hold.left -= 1;
        if 0 < hold.left {
            return false;
        }
        self.hold = None;
        for waiter in &mut self.queue {
            waiter.is_below_cutoff |= !waiter.since_grant;
        }
        true
    }

    pub(crate) fn renew(&mut self, rules: Rules, of: Request, fence: u8) -> bool {
        match &mut self.hold {
            Some(hold) if hold.of == of => {
                if hold.fence != fence {
                    if rules.keep(Rule::RenewalsNameTheFence) {
                        return false;
                    }
                    self.violated = Some(Invariant::NoRenew);
                }
                hold.left = LEASE;
                true
            }
            None if !rules.keep(Rule::RenewalsMakeNothing) => {
                self.violated = Some(Invariant::NoRenew);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_ended(&self, of: Request) -> bool {
        self.tombstones.contains(of)
    }

    pub(crate) fn stands(&self, fence: u8) -> bool {
        self.hold.is_some_and(|hold| hold.fence == fence)
    }

    pub(crate) fn forget_marks(&mut self, is_kept: impl Fn(Request) -> bool) {
        self.marks.retain(is_kept);
    }

    /// Forgets the last grant. If no hold can expire any more, no waiter can fall below the cutoff.
    pub(crate) fn forget_the_last_grant(&mut self) {
        for waiter in &mut self.queue {
            waiter.since_grant = true;
        }
    }

    /// Forgets notes of requests that are no longer in use.
    pub(crate) fn forget_notes(&mut self, is_alive: impl Fn(Request) -> bool) {
        self.marks.retain(&is_alive);
        self.tombstones.retain(&is_alive);
    }

    /// Returns the fences that new ones are compared with.
    pub(crate) fn fences(&self) -> Vec<u8> {
        let held = self.hold.map(|hold| hold.fence);
        [self.last, self.highest].into_iter().chain(held).collect()
    }

    pub(crate) fn renamed(&self, rename: impl Fn(Request) -> Request, least: u8) -> Self {
        let mut renamed = self.clone();
        if let Some(hold) = &mut renamed.hold {
            hold.of = rename(hold.of);
            hold.fence -= least;
        }
        for waiter in &mut renamed.queue {
            waiter.of = rename(waiter.of);
        }
        for arrived in &mut renamed.arrivals {
            *arrived = rename(*arrived);
        }
        renamed.marks = self.marks.renamed(&rename);
        renamed.tombstones = self.tombstones.renamed(&rename);
        (renamed.last, renamed.highest) = (self.last - least, self.highest - least);
        renamed
    }

    /// Returns the state of a client without its number: whether it holds, its place, and its
    /// notes.
    pub(crate) fn view_of(&self, client: u8) -> impl Ord {
        let is_its = |of: &Request| of.client == client;
        let place = |of: Option<usize>| of.map_or(u8::MAX, |n| n as u8);
        let of_waiters = self.queue.iter().map(|waiter| &waiter.of);
        (
            !self.hold.is_some_and(|hold| is_its(&hold.of)),
            place(of_waiters.clone().position(is_its)),
            place(self.arrivals.iter().position(is_its)),
        )
    }

    fn violate(&mut self, invariant: Invariant) {
        self.violated.get_or_insert(invariant);
    }
}

impl Step<'_> {
    pub(crate) fn acquire(mut self, of: Request, ticket: bool, tries: bool) -> Answer<Acquired> {
        if self.store.tombstones.contains(of) {
            self.hand_off_if_free();
            return self.answer(Acquired::Ended);
        }
        let is_queued = self.store.queue.iter().any(|waiter| waiter.of == of);
        let has_queued = ticket || is_queued || self.store.marks.contains(of);
        let ttl = if has_queued { PROVISIONAL_TTL } else { LEASE };
        if let Some(hold) = self.store.hold.as_mut().filter(|hold| hold.of == of) {
            if hold.left < ttl || !self.rules.keep(Rule::NothingShortens) {
                hold.left = ttl;
            }
            let hold = *hold;
            return self.answer(Acquired::Granted(hold));
        }
        if self.store.hold.is_none() {
            let barges = tries && !self.rules.keep(Rule::TriesDoNotBarge);
            if self.store.queue.is_empty() || barges {
                if has_queued {
                    self.store.marks.insert(of);
                }
                let hold = self.grant(of, ttl);
                return self.answer(Acquired::Granted(hold));
            }
        }
        if tries {
            self.try_busy(of)
        } else {
            self.wait(of)
        }
    }

    /// Applies a poll of another client.
    pub(crate) fn other_polls(mut self) -> Answer<()> {
        self.hand_off_if_free();
        self.answer(())
    }

    fn try_busy(mut self, of: Request) -> Answer<Acquired> {
        self.hand_off_if_free();
        if self.store.hold.is_none() {
            let hold = self.grant(of, LEASE);
            return self.answer(Acquired::Granted(hold));
        }
        self.answer(Acquired::Busy)
    }

    fn wait(mut self, of: Request) -> Answer<Acquired> {
        let waiter = Waiter {
            of,
            polled: 0,
            since_grant: true,
            is_below_cutoff: false,
        };
        self.store.marks.remove(of);
        match self.store.queue.iter_mut().find(|known| known.of == of) {
            Some(known) => *known = waiter,
            None => self.store.queue.push(waiter),
        }
        if !self.store.arrivals.contains(&of) {
            self.store.arrivals.push(of);
        }
        if self.store.hold.is_none() && self.rules.keep(Rule::PollsHandOff) {
            self.hand_off(Some(of));
        }
        match self.store.hold.filter(|hold| hold.of == of) {
            Some(hold) => self.answer(Acquired::Granted(hold)),
            None => self.answer(Acquired::Queued),
        }
    }

    /// Ends the request; returns whether it held or waited.
    pub(crate) fn end(mut self, of: Request, tombstone: bool) -> Answer<bool> {
        let store = &mut *self.store;
        let is_ours = |hold: Hold| hold.of == of || !self.rules.keep(Rule::EndsNameTheOwner);
        let held = store.hold.is_some_and(is_ours);
        if held {
            store.hold = None;
            if !self.rules.keep(Rule::FencesAreRemembered) {
                store.last = 0;
            }
        }
        let before = store.queue.len();
        store.queue.retain(|waiter| waiter.of != of);
        store.arrivals.retain(|arrived| *arrived != of);
        store.marks.remove(of);
        let waited = store.queue.len() < before;
        if tombstone && self.rules.keep(Rule::Tombstones) {
            store.tombstones.insert(of);
        }
        self.hand_off_if_free();
        self.answer(held || waited)
    }

    fn answer<T>(self, reply: T) -> Answer<T> {
        let free = self.store.hold.is_none();
        let waiters = &self.store.queue;
        if free && waiters.iter().any(|waiter| self.is_live(waiter)) {
            self.store.violate(Invariant::Wake);
        }
        Answer {
            reply,
            pushed: self.pushed,
        }
    }

    fn is_live(&self, waiter: &Waiter) -> bool {
        waiter.polled <= LIVE && !waiter.is_below_cutoff && (self.listens)(waiter.of)
    }

    /// Returns whether the waiter counts as live.
    fn seems_live(&self, waiter: &Waiter) -> bool {
        (waiter.polled <= LIVE || !self.rules.keep(Rule::SilentWaitersAreSkipped))
            && (!waiter.is_below_cutoff || !self.rules.keep(Rule::LivenessCutoff))
            && ((self.listens)(waiter.of) || !self.rules.keep(Rule::ListenersAreAsked))
    }

    fn hand_off_if_free(&mut self) {
        if self.store.hold.is_none() {
            self.hand_off(None);
        }
    }

    /// Grants the first live waiter. `by` polls, and gets its grant in the answer.
    fn hand_off(&mut self, by: Option<Request>) {
        let mut waiters = self.store.queue.clone();
        if !self.rules.keep(Rule::ArrivalDecides) {
            waiters.reverse();
        }
        for waiter in waiters {
            let of = waiter.of;
            if by != Some(of) && !self.seems_live(&waiter) {
                continue;
            }
            let is_in_vain = by != Some(of) && !self.is_live(&waiter);
            if is_in_vain && self.store.queue.iter().any(|other| self.is_live(other)) {
                self.store.violate(Invariant::Wake);
            }
            let hold = self.grant(of, PROVISIONAL_TTL);
            if self.rules.keep(Rule::GrantsUseThePlace) {
                self.store.queue.retain(|waiter| waiter.of != of);
                self.store.marks.insert(of);
            }
            if by != Some(of) {
                self.pushed.push(hold);
                if !self.rules.keep(Rule::GrantsStand) {
                    self.store.hold = None;
                    continue;
                }
            }
            return;
        }
    }

    fn grant(&mut self, of: Request, ttl: u8) -> Hold {
        let due = self.store.arrivals.iter().find(|arrived| {
            let mut waiters = self.store.queue.iter();
            let waits = |waiter: &Waiter| waiter.of == **arrived && self.is_live(waiter);
            **arrived == of || waiters.any(waits)
        });
        let is_due = due.is_none_or(|due| *due == of);
        let fence = self.store.last + 1;
        let store = &mut *self.store;
        if !is_due {
            store.violate(Invariant::Fifo);
        }
        if fence <= store.highest {
            store.violate(Invariant::Fence);
        }
        (store.last, store.highest) = (fence, store.highest.max(fence));
        store.arrivals.retain(|arrived| *arrived != of);
        for waiter in &mut store.queue {
            waiter.since_grant = false;
        }
        let hold = Hold {
            of,
            fence,
            left: ttl,
        };
        store.hold = Some(hold);
        hold
    }
}
