//! Who waits, in order, and what the queue remembers of those who do no more.
//!
//! A waiter that was passed over keeps its place, is not live and is not counted, until it
//! looks. Everything that has not been touched for a minute is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Moment, Request};

/// How long the queue remembers, in milliseconds.
const MEMORY_MS: u64 = 60_000;
/// How recently a live waiter has looked, in microseconds.
const LIVE_US: u64 = 2_500_000;

/// A waiter.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) request: Request,
    pub(super) ticket: u64,
    /// When it looked last; none once it was passed over.
    pub(super) seen: Option<Moment>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// By ticket, ties by request id.
    waiters: BTreeMap<(u64, Arc<str>), Waiter>,
    tickets: BTreeMap<Arc<str>, u64>,
    /// Requests that have been granted, and when.
    marks: BTreeMap<Arc<str>, Moment>,
    /// Requests that have been ended while an acquire of theirs was unanswered, and when.
    tombstones: BTreeMap<Arc<str>, Moment>,
    /// When the latest grant was made that has not been ended.
    latest_grant: Option<Moment>,
    /// Who has not looked since then is not live: that grant has lapsed.
    floor: Option<Moment>,
    /// The last millisecond for which the queue is remembered.
    last_milli: u64,
}

impl Queue {
    /// Forgets everything, if nothing has touched the queue for a minute.
    pub(super) fn expire(&mut self, now: Moment) {
        if self.has_expired(now) {
            *self = Self::default();
        }
    }

    /// Whether nothing has touched the queue for a minute.
    pub(super) fn has_expired(&self, now: Moment) -> bool {
        self.last_milli < now.as_millis()
    }

    /// Whether anything at all is remembered.
    pub(super) fn exists(&self) -> bool {
        !(self.waiters.is_empty()
            && self.marks.is_empty()
            && self.tombstones.is_empty()
            && self.latest_grant.is_none()
            && self.floor.is_none())
    }

    /// Forgets what has not been touched for a minute. A waiter that was passed over counts
    /// from its ticket.
    pub(super) fn prune(&mut self, now: Moment) {
        let fresh = |at: Moment| now.since(at) <= MEMORY_MS * 1_000;
        self.waiters
            .retain(|_, w| fresh(w.seen.unwrap_or(Moment::from_micros(w.ticket))));
        let waiters = &self.waiters;
        self.tickets
            .retain(|id, ticket| waiters.contains_key(&(*ticket, id.clone())));
        self.marks.retain(|_, at| fresh(*at));
        self.tombstones.retain(|_, at| fresh(*at));
        self.latest_grant = self.latest_grant.filter(|at| fresh(*at));
        self.floor = self.floor.filter(|at| fresh(*at));
    }

    fn touch(&mut self, now: Moment) {
        self.last_milli = now.last_milli(MEMORY_MS);
    }

    /// Queues the request, or notes that it looked, and answers its ticket. Its ticket in the
    /// queue counts first, then the one it carries, unless its grant has consumed that.
    pub(super) fn look(&mut self, request: &Request, carried: Option<u64>, now: Moment) -> u64 {
        let consumed = self.marks.remove(&request.id).is_some();
        let ticket = self
            .tickets
            .get(&request.id)
            .copied()
            .or(carried.filter(|_| !consumed))
            .unwrap_or_else(|| self.next_ticket(now));
        let waiter = Waiter {
            request: request.clone(),
            ticket,
            seen: Some(now),
        };
        self.waiters.insert((ticket, request.id.clone()), waiter);
        self.tickets.insert(request.id.clone(), ticket);
        self.touch(now);
        ticket
    }

    /// The time, raised above the ticket of everyone who waits.
    fn next_ticket(&self, now: Moment) -> u64 {
        let last = self.waiting().next_back().map_or(0, |w| w.ticket);
        now.as_micros().max(last + 1)
    }

    /// The waiters that have not been passed over, in order.
    pub(super) fn waiting(&self) -> impl DoubleEndedIterator<Item = &Waiter> {
        self.waiters.values().filter(|w| w.seen.is_some())
    }

    pub(super) fn holds_place(&self, id: &str) -> bool {
        self.tickets.contains_key(id)
    }

    pub(super) fn is_marked(&self, id: &str) -> bool {
        self.marks.contains_key(id)
    }

    pub(super) fn is_ended(&self, id: &str) -> bool {
        self.tombstones.contains_key(id)
    }

    /// The place of a ticket, from 1.
    pub(super) fn place(&self, ticket: u64) -> u64 {
        self.waiting().take_while(|w| w.ticket <= ticket).count() as u64
    }

    /// Whether the waiter has looked lately, and since the last grant that lapsed.
    pub(super) fn is_live(&self, waiter: &Waiter, now: Moment) -> bool {
        waiter.seen.is_some_and(|seen| {
            now.since(seen) <= LIVE_US && self.floor.is_none_or(|floor| floor < seen)
        })
    }

    /// Keeps the waiter's place, and does not count it until it looks.
    pub(super) fn pass_over(&mut self, waiter: &Waiter) {
        let place = (waiter.ticket, waiter.request.id.clone());
        if let Some(waiter) = self.waiters.get_mut(&place) {
            waiter.seen = None;
        }
    }

    /// Takes the request out of the queue and forgets its grant; answers whether it waited.
    pub(super) fn leave(&mut self, id: &str) -> bool {
        self.marks.remove(id);
        self.tickets
            .remove(id)
            .and_then(|ticket| self.waiters.remove(&(ticket, id.into())))
            .is_some()
    }

    /// Remembers that the request has been granted.
    pub(super) fn mark(&mut self, id: &Arc<str>, now: Moment) {
        self.marks.insert(id.clone(), now);
        self.touch(now);
    }

    /// Remembers that the request has been ended.
    pub(super) fn bury(&mut self, id: &str, now: Moment) {
        self.tombstones.insert(id.into(), now);
        self.touch(now);
    }

    pub(super) fn note_grant(&mut self, now: Moment) {
        self.latest_grant = Some(now);
        self.touch(now);
    }

    /// The latest grant was ended by its holder.
    pub(super) fn grant_ended(&mut self) {
        self.latest_grant = None;
    }

    /// The latest grant has lapsed: its time is a floor for everyone's liveness.
    pub(super) fn grant_lapsed(&mut self) {
        self.floor = self.floor.max(self.latest_grant.take());
    }
}
