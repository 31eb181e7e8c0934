//! The records of one resource, in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::rows::{Forgotten, Hold, Note, Root, Rows, Run, Waiter};
use super::{Contender, Moment};

/// The records of one resource, in memory.
#[derive(Clone, Debug, Default)]
pub struct Table {
    root: Root,
    shared: HashMap<Arc<str>, Hold>,
    /// Shared holds by their last millisecond, then owner.
    by_end: BTreeSet<(u64, Arc<str>)>,
    owners_by_fence: HashMap<u64, Arc<str>>,
    waiters: HashMap<Arc<str>, Waiter>,
    /// The waiters that were not skipped, in order.
    waiting: BTreeSet<(u64, Arc<str>)>,
    /// The waiters among them that want to share.
    sharers: BTreeSet<(u64, Arc<str>)>,
    notes: HashMap<(Note, Arc<str>), Moment>,
    /// Waiters and notes, by when they were touched.
    touched: BTreeSet<(Moment, Option<Note>, Arc<str>)>,
    run: Option<Run>,
}

impl Table {
    /// Returns the requests of all waiters, in no order.
    pub fn waiter_ids(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.waiters.keys().cloned()
    }

    /// Returns all notes and their requests, in no order.
    pub fn note_ids(&self) -> impl Iterator<Item = (Note, Arc<str>)> + '_ {
        self.notes.keys().cloned()
    }

    fn waiter_at(&self, place: Option<&(u64, Arc<str>)>) -> Option<Waiter> {
        place.and_then(|(_, id)| self.waiter(id))
    }
}

impl Rows for Table {
    fn root(&self) -> &Root {
        &self.root
    }

    fn root_mut(&mut self) -> &mut Root {
        &mut self.root
    }

    fn shared(&self, owner: &str) -> Option<Hold> {
        self.shared.get(owner).cloned()
    }

    fn shared_of_fence(&self, fence: u64) -> Option<Hold> {
        self.shared(self.owners_by_fence.get(&fence)?)
    }

    fn expired(&self, milli: u64) -> Vec<Hold> {
        let expired = self.by_end.iter().take_while(|(end, _)| *end < milli);
        expired
            .filter_map(|(_, owner)| self.shared(owner))
            .collect()
    }

    fn last_to_expire(&self, at_most: usize) -> Vec<Hold> {
        let last = self.by_end.iter().rev().take(at_most);
        last.filter_map(|(_, owner)| self.shared(owner)).collect()
    }

    fn nth_to_expire(&self, n: u64) -> Option<u64> {
        let skipped = usize::try_from(n.checked_sub(1)?).ok()?;
        self.by_end.iter().nth(skipped).map(|(end, _)| *end)
    }

    fn put_shared(&mut self, hold: Hold) {
        self.remove_shared(&hold.owner);
        self.by_end.insert((hold.end(), hold.owner.clone()));
        if let Some(fence) = hold.fence {
            self.owners_by_fence.insert(fence, hold.owner.clone());
        }
        self.shared.insert(hold.owner.clone(), hold);
    }

    fn remove_shared(&mut self, owner: &str) {
        if let Some(hold) = self.shared.remove(owner) {
            self.by_end.remove(&(hold.end(), hold.owner.clone()));
            if let Some(fence) = hold.fence {
                self.owners_by_fence.remove(&fence);
            }
        }
    }

    fn waiter(&self, id: &str) -> Option<Waiter> {
        self.waiters.get(id).cloned()
    }

    fn first_waiting(&self) -> Option<Waiter> {
        self.waiter_at(self.waiting.first())
    }

    fn last_waiting(&self) -> Option<Waiter> {
        self.waiter_at(self.waiting.last())
    }

    fn first_waiting_to_share(&self) -> Option<Waiter> {
        self.waiter_at(self.sharers.first())
    }

    fn first_waiters(&self, at_most: usize) -> Vec<Waiter> {
        let first = self.waiting.iter().take(at_most);
        first.filter_map(|(_, id)| self.waiter(id)).collect()
    }

    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64 {
        let upto = self.waiting.iter().take_while(|(t, _)| *t <= ticket);
        upto.take(usize::try_from(at_most).unwrap_or(usize::MAX))
            .count() as u64
    }

    fn put_waiter(&mut self, waiter: Waiter) {
        let Contender { id, .. } = &waiter.contender;
        let place = (waiter.ticket, id.clone());
        self.remove_waiter(id);
        if waiter.seen.is_some() {
            self.waiting.insert(place.clone());
            if waiter.shares() {
                self.sharers.insert(place);
            }
        }
        self.touched.insert((waiter.touched(), None, id.clone()));
        self.waiters.insert(id.clone(), waiter);
    }

    fn remove_waiter(&mut self, id: &str) {
        if let Some(waiter) = self.waiters.remove(id) {
            let place = (waiter.ticket, waiter.contender.id.clone());
            self.waiting.remove(&place);
            self.sharers.remove(&place);
            self.touched.remove(&(waiter.touched(), None, place.1));
        }
    }

    fn has_note(&self, note: Note, id: &str) -> bool {
        self.notes.contains_key(&(note, id.into()))
    }

    fn put_note(&mut self, note: Note, id: &str, at: Moment) -> bool {
        let new = !self.remove_note(note, id);
        self.touched.insert((at, Some(note), id.into()));
        self.notes.insert((note, id.into()), at);
        new
    }

    fn remove_note(&mut self, note: Note, id: &str) -> bool {
        let at = self.notes.remove(&(note, id.into()));
        at.is_some_and(|at| self.touched.remove(&(at, Some(note), id.into())))
    }

    fn forget_before(&mut self, moment: Moment) -> Forgotten {
        let mut forgotten = Forgotten::default();
        while let Some((_, note, id)) = self.touched.first().filter(|(at, ..)| *at < moment) {
            let (note, id) = (*note, id.clone());
            match note {
                Some(note) => {
                    self.remove_note(note, &id);
                    forgotten.notes += 1;
                }
                None => {
                    let waits = self.waiters.get(&id).is_some_and(|w| w.seen.is_some());
                    self.remove_waiter(&id);
                    forgotten.waiting += u64::from(waits);
                    forgotten.skipped += u64::from(!waits);
                }
            }
        }
        forgotten
    }

    fn forget_queue(&mut self) {
        self.waiters.clear();
        self.waiting.clear();
        self.sharers.clear();
        self.notes.clear();
        self.touched.clear();
    }

    fn run(&self) -> Option<Run> {
        self.run.clone()
    }

    fn put_run(&mut self, run: Run) {
        self.run = Some(run);
    }
}
