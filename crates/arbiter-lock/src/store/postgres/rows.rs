//! The rows of one name, for the steps of the core: what was read of them, and what steps change.
//!
//! Of a long queue only the rows are read that most steps need. A step that needs another one has
//! no effect: everything is read, and the step is repeated.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arbiter_lock_core::{Contender, Forgotten, Hold, Moment, Note, Root, Rows, Run, Table, Waiter};

/// What was read of a name.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) root: Root,
    /// None for a name that has no rows.
    pub(super) revision: Option<i64>,
    pub(super) waiters: Vec<Waiter>,
    /// The first waiters that were not skipped, as ticket and id. None if all waiters were read.
    pub(super) places: Option<Vec<(u64, Arc<str>)>>,
    pub(super) shared: Vec<Hold>,
    pub(super) has_all_shared: bool,
    pub(super) notes: Vec<(Note, Arc<str>, Moment)>,
    pub(super) has_all_notes: bool,
    /// Whether waiters or notes are so old that they are forgotten.
    pub(super) has_old: bool,
    /// Channels without a listener.
    pub(super) unheard: HashSet<Arc<str>>,
    pub(super) run: Option<Run>,
}

impl Loaded {
    /// Makes holds that have expired last for a moment more: a transaction guards one of them.
    pub(super) fn keep_guarded(&mut self, now: Moment) {
        let now = now.as_millis();
        let holds = self.root.exclusive.iter_mut().chain(&mut self.shared);
        for hold in holds.filter(|hold| hold.end() < now) {
            hold.last_milli = Some(now + GUARDED_MS);
        }
    }
}

/// How long a hold that has expired lasts while a transaction guards it, in ms.
const GUARDED_MS: u64 = 1_000;

/// The rows of one name, and the changes of the steps on them.
#[derive(Debug)]
pub(super) struct SnapshotRows {
    /// Everything that was read. A waiter whose place alone is known is a stub.
    table: Table,
    loaded: Root,
    known: Known,
    pub(super) changes: Changes,
    /// Whether a step needed something that was not read.
    is_incomplete: Cell<bool>,
}

/// Which rows of a name were read.
#[derive(Debug)]
struct Known {
    all_waiters: bool,
    all_shared: bool,
    all_notes: bool,
    has_old: bool,
    /// The requests whose rows were read, if there are any.
    ids: HashSet<Arc<str>>,
    fences: HashSet<u64>,
    stubs: HashSet<Arc<str>>,
    /// All places up to this one are known, unless all are.
    horizon: Option<(u64, Arc<str>)>,
    last: Option<(u64, Arc<str>)>,
    first_to_share: Option<Arc<str>>,
    /// The shared holds that end up to the first one are known, and from the last one on.
    ends: Option<(u64, u64)>,
}

/// What steps have changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Whether all waiters and notes go, before the others are written.
    pub(super) is_cleared: bool,
    pub(super) waiters: BTreeMap<Arc<str>, Option<Waiter>>,
    pub(super) shared: BTreeMap<Arc<str>, Option<Hold>>,
    pub(super) notes: BTreeMap<(Note, Arc<str>), Option<Moment>>,
    pub(super) run: Option<Run>,
}

/// The first and the last of the shared holds that are read of many.
pub(super) const SHARED_READ: usize = 100;

impl SnapshotRows {
    /// Makes the rows that were read for those requests and fences.
    pub(super) fn new(loaded: Loaded, ids: &[Arc<str>], fences: &[u64]) -> Self {
        let mut table = Table::default();
        *table.root_mut() = loaded.root.clone();
        let mut known = Known {
            all_waiters: loaded.places.is_none(),
            all_shared: loaded.has_all_shared,
            all_notes: loaded.has_all_notes,
            has_old: loaded.has_old,
            ids: ids.iter().cloned().collect(),
            fences: fences.iter().copied().collect(),
            stubs: HashSet::new(),
            horizon: None,
            last: None,
            first_to_share: None,
            ends: None,
        };
        let places = loaded.places.unwrap_or_default();
        known.horizon = places.last().cloned();
        let read: BTreeSet<_> = loaded.waiters.iter().map(|w| &w.contender.id).collect();
        for (ticket, id) in places {
            if !read.contains(&id) {
                known.stubs.insert(id.clone());
                table.put_waiter(Waiter {
                    contender: Contender::with_id(id),
                    ticket,
                    seen: Some(Moment::from_micros(ticket)),
                });
            }
        }
        drop(read);
        for waiter in loaded.waiters {
            known.ids.insert(waiter.contender.id.clone());
            table.put_waiter(waiter);
        }
        let place = |waiter: Waiter| (waiter.ticket, waiter.contender.id);
        known.last = table.last_waiting().map(place);
        known.first_to_share = table.first_waiting_to_share().map(|w| w.contender.id);
        let mut ends: Vec<_> = loaded.shared.iter().map(Hold::end).collect();
        ends.sort_unstable();
        if !known.all_shared && SHARED_READ <= ends.len() {
            known.ends = Some((ends[SHARED_READ - 1], ends[ends.len() - SHARED_READ]));
        }
        for hold in loaded.shared {
            table.put_shared(hold);
        }
        for (note, id, at) in loaded.notes {
            table.put_note(note, &id, at);
        }
        if let Some(run) = loaded.run {
            table.put_run(run);
        }
        Self {
            table,
            loaded: loaded.root,
            known,
            changes: Changes::default(),
            is_incomplete: Cell::new(false),
        }
    }

    /// Returns whether a step needed something that was not read.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete.get()
    }

    /// Returns whether the steps have changed anything.
    pub(super) fn is_changed(&self) -> bool {
        let Changes {
            is_cleared,
            waiters,
            shared,
            notes,
            run,
        } = &self.changes;
        *is_cleared
            || self.loaded != *self.table.root()
            || !(waiters.is_empty() && shared.is_empty() && notes.is_empty() && run.is_none())
    }

    /// Returns whether the exclusive hold that was read ends, which waits for transactions that
    /// guard it.
    pub(super) fn ends_exclusive(&self) -> bool {
        let fence = |root: &Root| root.exclusive.as_ref().and_then(|hold| hold.fence);
        let before = fence(&self.loaded);
        before.is_some() && before != fence(self.table.root())
    }

    /// Returns `found` if it is certain, and otherwise notes that more has to be read.
    fn certain<T: Default>(&self, is_certain: bool, found: T) -> T {
        if is_certain {
            return found;
        }
        self.is_incomplete.set(true);
        T::default()
    }

    /// Returns a waiter, unless only its place is known.
    fn whole(&self, waiter: Option<Waiter>) -> Option<Waiter> {
        let is_stub = |waiter: &Waiter| self.known.stubs.contains(&waiter.contender.id);
        let is_whole = !waiter.as_ref().is_some_and(is_stub);
        self.certain(is_whole, waiter)
    }

    /// Returns whether all places up to that one are known.
    fn knows_up_to(&self, place: Option<&Waiter>) -> bool {
        let Known {
            all_waiters,
            horizon,
            ..
        } = &self.known;
        *all_waiters
            || place.is_some_and(|waiter| {
                let place = (waiter.ticket, &waiter.contender.id);
                horizon.as_ref().is_some_and(|(t, id)| place <= (*t, id))
            })
    }
}

impl Rows for SnapshotRows {
    fn root(&self) -> &Root {
        self.table.root()
    }

    fn root_mut(&mut self) -> &mut Root {
        self.table.root_mut()
    }

    fn shared(&self, owner: &str) -> Option<Hold> {
        let found = self.table.shared(owner);
        let is_known = self.known.all_shared
            || self.known.ids.contains(owner)
            || self.changes.shared.contains_key(owner);
        self.certain(is_known || found.is_some(), found)
    }

    fn shared_of_fence(&self, fence: u64) -> Option<Hold> {
        let found = self.table.shared_of_fence(fence);
        let is_known = self.known.all_shared || self.known.fences.contains(&fence);
        self.certain(is_known || found.is_some(), found)
    }

    fn expired(&self, milli: u64) -> Vec<Hold> {
        let ends = self.known.ends;
        let is_known = self.known.all_shared || ends.is_some_and(|(first, _)| milli <= first);
        self.certain(is_known, self.table.expired(milli))
    }

    fn last_to_expire(&self, at_most: usize) -> Vec<Hold> {
        let found = self.table.last_to_expire(at_most);
        let from = self.known.ends.map(|(_, last)| last);
        let are_known = found.len() == at_most
            && found
                .last()
                .is_none_or(|hold| from.is_some_and(|from| from < hold.end()));
        self.certain(self.known.all_shared || are_known, found)
    }

    fn nth_to_expire(&self, n: u64) -> Option<u64> {
        let found = self.table.nth_to_expire(n);
        let to = self.known.ends.map(|(first, _)| first);
        let is_known = found.is_some_and(|end| to.is_some_and(|to| end < to));
        self.certain(self.known.all_shared || is_known, found)
    }

    fn put_shared(&mut self, hold: Hold) {
        self.changes
            .shared
            .insert(hold.owner.clone(), Some(hold.clone()));
        self.table.put_shared(hold);
    }

    fn remove_shared(&mut self, owner: &str) {
        self.changes.shared.insert(owner.into(), None);
        self.table.remove_shared(owner);
    }

    fn waiter(&self, id: &str) -> Option<Waiter> {
        let found = self.table.waiter(id);
        let is_known = self.known.all_waiters
            || self.known.ids.contains(id)
            || self.changes.waiters.contains_key(id);
        self.whole(self.certain(is_known || found.is_some(), found))
    }

    fn first_waiting(&self) -> Option<Waiter> {
        let found = self.table.first_waiting();
        let found = self.certain(self.knows_up_to(found.as_ref()), found);
        self.whole(found)
    }

    fn last_waiting(&self) -> Option<Waiter> {
        // The last one may have left, and the one before it is not known.
        let last = self.known.last.as_ref();
        let is_there = last.is_some_and(|(_, id)| {
            let waiter = self.table.waiter(id);
            waiter.is_some_and(|waiter| waiter.seen.is_some())
        });
        self.certain(
            self.known.all_waiters || is_there,
            self.table.last_waiting(),
        )
    }

    fn first_waiting_to_share(&self) -> Option<Waiter> {
        let first = self.known.first_to_share.as_ref();
        let is_there = first.is_none_or(|id| {
            let waiter = self.table.waiter(id);
            waiter.is_some_and(|waiter| waiter.seen.is_some())
        });
        let found = self.table.first_waiting_to_share();
        self.certain(self.known.all_waiters || is_there, found)
    }

    fn first_waiters(&self, at_most: usize) -> Vec<Waiter> {
        let found = self.table.first_waiters(at_most);
        let is_stub = |waiter: &Waiter| self.known.stubs.contains(&waiter.contender.id);
        let are_known = self.known.all_waiters
            || (found.len() == at_most
                && self.knows_up_to(found.last())
                && !found.iter().any(is_stub));
        self.certain(are_known, found)
    }

    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64 {
        let count = self.table.count_waiting(ticket, at_most);
        let horizon = self.known.horizon.as_ref();
        let is_near = horizon.is_some_and(|(last, _)| ticket < *last);
        let is_known = self.known.all_waiters || is_near || count == at_most;
        self.certain(is_known, count)
    }

    fn put_waiter(&mut self, waiter: Waiter) {
        let id = waiter.contender.id.clone();
        self.changes
            .waiters
            .insert(id.clone(), Some(waiter.clone()));
        self.known.stubs.remove(&id);
        self.table.put_waiter(waiter);
    }

    fn remove_waiter(&mut self, id: &str) {
        self.changes.waiters.insert(id.into(), None);
        self.table.remove_waiter(id);
    }

    fn has_note(&self, note: Note, id: &str) -> bool {
        let found = self.table.has_note(note, id);
        let is_known = self.known.all_notes
            || self.known.ids.contains(id)
            || self.changes.notes.contains_key(&(note, id.into()));
        self.certain(is_known || found, found)
    }

    fn put_note(&mut self, note: Note, id: &str, at: Moment) -> bool {
        let is_new = !self.has_note(note, id);
        self.changes.notes.insert((note, id.into()), Some(at));
        self.table.put_note(note, id, at);
        is_new
    }

    fn remove_note(&mut self, note: Note, id: &str) -> bool {
        let found = self.has_note(note, id);
        if found {
            self.changes.notes.insert((note, id.into()), None);
            self.table.remove_note(note, id);
        }
        found
    }

    fn forget_before(&mut self, moment: Moment) -> Forgotten {
        let Known {
            all_waiters,
            all_notes,
            has_old,
            ..
        } = self.known;
        if !has_old {
            return Forgotten::default();
        }
        if !self.certain(all_waiters && all_notes, true) {
            return Forgotten::default();
        }
        let before = self.table.clone();
        let forgotten = self.table.forget_before(moment);
        // The table does not name what it has forgotten.
        for id in before.waiter_ids() {
            if self.table.waiter(&id).is_none() {
                self.changes.waiters.insert(id, None);
            }
        }
        for (note, id) in before.note_ids() {
            if !self.table.has_note(note, &id) {
                self.changes.notes.insert((note, id), None);
            }
        }
        self.known.has_old = false;
        forgotten
    }

    fn forget_queue(&mut self) {
        self.changes.is_cleared = true;
        self.changes.waiters.clear();
        self.changes.notes.clear();
        self.table.forget_queue();
        self.known.stubs.clear();
        (self.known.all_waiters, self.known.all_notes) = (true, true);
        self.known.has_old = false;
    }

    fn run(&self) -> Option<Run> {
        self.table.run()
    }

    fn put_run(&mut self, run: Run) {
        self.changes.run = Some(run.clone());
        self.table.put_run(run);
    }
}
