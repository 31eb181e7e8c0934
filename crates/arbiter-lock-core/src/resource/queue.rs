//! The queue: its waiters in order, and its notes on requests that no longer wait.
//!
//! A waiter that was skipped keeps its place, but is neither live nor counted until it polls.
//! Everything that has not been touched for a minute is forgotten.

use super::rows::{Hold, Note, Rows, Waiter};
use super::{Contender, Moment, Resource};

/// How long the queue remembers, in milliseconds.
const MEMORY_MS: u64 = 60_000;
/// How recently a live waiter has polled, in microseconds.
const LIVE_US: u64 = 2_500_000;

/// The highest place that is counted.
pub const PLACES: u64 = 100;

impl<R: Rows> Resource<R> {
    /// Forgets the whole queue, if nothing has touched it for a minute.
    pub(super) fn expire_queue(&mut self, now: Moment) {
        if self.root().has_queue() && self.queue_has_expired(now) {
            self.forget_queue();
        }
    }

    /// Returns whether nothing has touched the queue for a minute.
    pub(super) fn queue_has_expired(&self, now: Moment) -> bool {
        self.root().queue_until < now.as_millis()
    }

    pub(super) fn forget_queue(&mut self) {
        self.rows.forget_queue();
        let root = self.root_mut();
        (root.waiting, root.skipped, root.notes) = (0, 0, 0);
        (root.latest_grant, root.liveness_cutoff, root.queue_until) = (None, None, 0);
    }

    /// Forgets everything that has not been touched for a minute.
    pub(super) fn prune_queue(&mut self, now: Moment) {
        let fresh = |at: &Moment| now.since(*at) <= MEMORY_MS * 1_000;
        let root = self.root_mut();
        root.latest_grant = root.latest_grant.filter(fresh);
        root.liveness_cutoff = root.liveness_cutoff.filter(fresh);
        if root.waiting + root.skipped + root.notes == 0 {
            return;
        }
        let oldest = now.as_micros().saturating_sub(MEMORY_MS * 1_000);
        let forgotten = self.rows.forget_before(Moment::from_micros(oldest));
        let root = self.root_mut();
        root.waiting -= forgotten.waiting;
        root.skipped -= forgotten.skipped;
        root.notes -= forgotten.notes;
    }

    fn touch_queue(&mut self, now: Moment) {
        self.root_mut().queue_until = now.last_milli(MEMORY_MS);
    }

    /// Queues the request, or records its poll, and returns its ticket.
    ///
    /// The ticket in the queue comes first, then the carried one, unless a grant has consumed it.
    pub(super) fn enqueue(
        &mut self,
        contender: &Contender,
        carried: Option<u64>,
        now: Moment,
    ) -> u64 {
        let consumed = self.take_note(Note::GrantedMarker, &contender.id);
        let queued = self.waiter(&contender.id);
        let ticket = queued
            .as_ref()
            .map(|waiter| waiter.ticket)
            .or(carried.filter(|_| !consumed))
            .unwrap_or_else(|| self.next_ticket(now));
        if let Some(waiter) = &queued {
            self.uncount(waiter);
        }
        self.rows.put_waiter(Waiter {
            contender: contender.clone(),
            ticket,
            seen: Some(now),
        });
        self.root_mut().waiting += 1;
        self.touch_queue(now);
        ticket
    }

    /// Returns the time, raised above the ticket of every waiter.
    fn next_ticket(&self, now: Moment) -> u64 {
        let last = match self.root().waiting {
            0 => None,
            _ => self.rows.last_waiting(),
        };
        now.as_micros().max(last.map_or(0, |w| w.ticket) + 1)
    }

    fn waiter(&self, id: &str) -> Option<Waiter> {
        match self.root().waiting + self.root().skipped {
            0 => None,
            _ => self.rows.waiter(id),
        }
    }

    /// Returns the first waiter that was not skipped.
    pub(super) fn first_waiting(&self) -> Option<Waiter> {
        match self.root().waiting {
            0 => None,
            _ => self.rows.first_waiting(),
        }
    }

    pub(super) fn has_place(&self, id: &str) -> bool {
        self.waiter(id).is_some()
    }

    pub(super) fn has_granted_marker(&self, id: &str) -> bool {
        self.has_note(Note::GrantedMarker, id)
    }

    pub(super) fn has_tombstone(&self, id: &str) -> bool {
        self.has_note(Note::Tombstone, id)
    }

    fn has_note(&self, note: Note, id: &str) -> bool {
        self.root().notes != 0 && self.rows.has_note(note, id)
    }

    fn put_note(&mut self, note: Note, id: &str, now: Moment) {
        let new = self.rows.put_note(note, id, now);
        self.root_mut().notes += u64::from(new);
        self.touch_queue(now);
    }

    fn take_note(&mut self, note: Note, id: &str) -> bool {
        let taken = self.root().notes != 0 && self.rows.remove_note(note, id);
        self.root_mut().notes -= u64::from(taken);
        taken
    }

    fn uncount(&mut self, waiter: &Waiter) {
        let root = self.root_mut();
        match waiter.seen {
            Some(_) => root.waiting -= 1,
            None => root.skipped -= 1,
        }
    }

    /// Returns the place of a ticket, from 1, counted up to one more than [`PLACES`].
    pub(super) fn place(&self, ticket: u64) -> u64 {
        self.rows.count_waiting(ticket, PLACES + 1)
    }

    /// Returns whether the waiter has polled recently, and since the last grant that expired.
    pub(super) fn is_live(&self, waiter: &Waiter, now: Moment) -> bool {
        let cutoff = self.root().liveness_cutoff;
        waiter.seen.is_some_and(|seen| {
            now.since(seen) <= LIVE_US && cutoff.is_none_or(|cutoff| cutoff < seen)
        })
    }

    /// Keeps the waiter's place, and does not count it until it polls.
    pub(super) fn skip_waiter(&mut self, waiter: Waiter) {
        self.uncount(&waiter);
        self.rows.put_waiter(Waiter {
            seen: None,
            ..waiter
        });
        self.root_mut().skipped += 1;
    }

    /// Removes the request and its granted marker; returns whether it waited.
    pub(super) fn leave(&mut self, id: &str) -> bool {
        self.take_note(Note::GrantedMarker, id);
        let Some(waiter) = self.waiter(id) else {
            return false;
        };
        self.uncount(&waiter);
        self.rows.remove_waiter(id);
        true
    }

    /// Remembers that the request has been granted.
    pub(super) fn mark_granted(&mut self, id: &str, now: Moment) {
        self.put_note(Note::GrantedMarker, id, now);
    }

    /// Remembers that the request has been ended.
    pub(super) fn leave_tombstone(&mut self, id: &str, now: Moment) {
        self.put_note(Note::Tombstone, id, now);
    }

    pub(super) fn note_grant(&mut self, now: Moment) {
        self.root_mut().latest_grant = Some(now);
        self.touch_queue(now);
    }

    /// Updates the latest grant after its holder or an operator has ended a hold.
    ///
    /// If its grant was the latest, that of the last hold to expire takes its place;
    /// `some_expired` handles those that expire earlier.
    pub(super) fn grant_ended(&mut self, hold: &Hold) {
        if self.is_free() {
            self.root_mut().latest_grant = None;
        } else if self.root().latest_grant == hold.since {
            let last = self.rows.last_to_expire(1).pop();
            self.root_mut().latest_grant = last.and_then(|hold| hold.since);
        }
    }

    /// Raises the liveness cutoff after some holds expired. Later grants may still be in force.
    pub(super) fn some_expired(&mut self, expired: &[Hold]) {
        let root = self.root_mut();
        if root.latest_grant.is_some() {
            let latest = expired.iter().filter_map(|hold| hold.since).max();
            root.liveness_cutoff = root.liveness_cutoff.max(latest);
        }
    }

    /// Raises the liveness cutoff to the latest grant, which has expired.
    pub(super) fn latest_grant_expired(&mut self) {
        let root = self.root_mut();
        root.liveness_cutoff = root.liveness_cutoff.max(root.latest_grant.take());
    }
}
