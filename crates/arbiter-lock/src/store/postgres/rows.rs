//! The rows of one name, for the steps of the core: the rows that were read, and the changes of
//! steps.
//!
//! Of a long queue only the rows are read that most steps need. A step that needs another one has
//! no effect: everything is read, and the step is repeated.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arbiter_lock_core::{Contender, Forgotten, Hold, Moment, Note, Root, Rows, Run, Table, Waiter};

/// The rows of a name that were read.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) root: Root,
    /// None for a name that has no rows.
    pub(super) revision: Option<i64>,
    pub(super) waiters: Vec<Waiter>,
    /// The first waiters that were not skipped. None if all waiters were read.
    pub(super) places: Option<Vec<SortKey>>,
    /// Whether the places are those of all waiters that were not skipped.
    pub(super) has_all_places: bool,
    pub(super) shared: Vec<Hold>,
    pub(super) has_all_shared: bool,
    /// The other shared holds end between these two.
    pub(super) shared_between: Option<(SortKey, SortKey)>,
    pub(super) notes: Vec<(Note, Arc<str>, Moment)>,
    pub(super) has_all_notes: bool,
    /// Whether waiters or notes are so old that they are forgotten.
    pub(super) has_old: bool,
    /// Whether some of them were not read.
    pub(super) has_more_old: bool,
    /// Channels without a listener.
    pub(super) unheard: HashSet<Arc<str>>,
    pub(super) run: Option<Run>,
    pub(super) has_run: bool,
}

/// The key by which rows are sorted: waiters by ticket and id, shared holds by end and owner.
pub(super) type SortKey = (u64, Arc<str>);

impl Loaded {
    /// Records that the first `count` shared holds to end were read, and the last `count`.
    pub(super) fn set_ends(&mut self, count: usize) {
        let place = |hold: &Hold| (hold.end(), hold.owner.clone());
        let mut places: Vec<_> = self.shared.iter().map(place).collect();
        places.sort_unstable();
        let first = count.checked_sub(1).and_then(|n| places.get(n));
        let last = places.len().checked_sub(count).and_then(|n| places.get(n));
        self.shared_between = first.cloned().zip(last.cloned());
    }

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
    all_places: bool,
    all_shared: bool,
    all_notes: bool,
    run: bool,
    has_old: bool,
    has_more_old: bool,
    /// The requests whose rows were read, if there are any.
    ids: HashSet<Arc<str>>,
    /// The waiters that were read, and so their notes.
    waiters: HashSet<Arc<str>>,
    fences: HashSet<u64>,
    /// The shared holds that were read, and their fences.
    shared: HashMap<Arc<str>, Option<u64>>,
    stubs: HashSet<Arc<str>>,
    /// All places up to this one are known, unless all are.
    horizon: Option<SortKey>,
    last: Option<SortKey>,
    /// The first waiter that wanted to share, if there was one.
    first_to_share: Option<SortKey>,
    /// The shared holds that are not known end between these two.
    shared_between: Option<(SortKey, SortKey)>,
}

/// The changes of steps.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Whether all waiters and notes go, before the others are written.
    pub(super) is_cleared: bool,
    pub(super) waiters: BTreeMap<Arc<str>, Option<Waiter>>,
    pub(super) shared: BTreeMap<Arc<str>, Option<Hold>>,
    pub(super) notes: BTreeMap<(Note, Arc<str>), Option<Moment>>,
    pub(super) run: Option<Run>,
}

impl SnapshotRows {
    /// Makes the rows that were read for those requests and fences.
    pub(super) fn new(loaded: Loaded, ids: &[Arc<str>], fences: &[u64]) -> Self {
        let mut table = Table::default();
        *table.root_mut() = loaded.root.clone();
        let waiters = loaded.waiters.iter().map(|w| w.contender.id.clone());
        let shared = loaded.shared.iter();
        let shared = shared.map(|hold| (hold.owner.clone(), hold.fence));
        let mut known = Known {
            all_waiters: loaded.places.is_none(),
            all_places: loaded.has_all_places,
            all_shared: loaded.has_all_shared,
            all_notes: loaded.has_all_notes,
            run: loaded.has_run,
            has_old: loaded.has_old,
            has_more_old: loaded.has_more_old,
            ids: ids.iter().cloned().collect(),
            waiters: waiters.collect(),
            fences: fences.iter().copied().collect(),
            shared: shared.collect(),
            stubs: HashSet::new(),
            horizon: None,
            last: None,
            first_to_share: None,
            shared_between: loaded.shared_between,
        };
        let places = loaded.places.unwrap_or_default();
        known.horizon = places.last().cloned();
        for (ticket, id) in places {
            if !known.waiters.contains(&id) {
                known.stubs.insert(id.clone());
                table.put_waiter(Waiter {
                    contender: Contender::with_id(id),
                    ticket,
                    // Old ones were read.
                    seen: Some(Moment::from_micros(u64::MAX)),
                });
            }
        }
        for waiter in loaded.waiters {
            table.put_waiter(waiter);
        }
        known.last = table.last_waiting().as_ref().map(place);
        known.first_to_share = table.first_waiting_to_share().as_ref().map(place);
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

    /// Returns whether that hold takes the place of another one of its owner.
    pub(super) fn replaces(&self, hold: &Hold) -> bool {
        let read = self.known.shared.get(&hold.owner);
        read.is_some_and(|fence| *fence != hold.fence)
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
    fn knows_up_to(&self, waiter: Option<&Waiter>) -> bool {
        let horizon = self.known.horizon.as_ref();
        let is_near = |waiter| horizon.is_some_and(|horizon| place(waiter) <= *horizon);
        self.known.all_waiters || self.known.all_places || waiter.is_some_and(is_near)
    }

    /// Returns the waiter of that place as it is now, unless it has left or was skipped.
    fn place_now(&self, before: Option<&SortKey>) -> Option<Waiter> {
        let waiter = self.table.waiter(&before?.1);
        waiter.filter(|waiter| waiter.seen.is_some())
    }
}

fn place(waiter: &Waiter) -> SortKey {
    (waiter.ticket, waiter.contender.id.clone())
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
        let between = self.known.shared_between.as_ref();
        let is_known = between.is_some_and(|((first, _), _)| milli <= *first);
        self.certain(self.known.all_shared || is_known, self.table.expired(milli))
    }

    fn last_to_expire(&self, at_most: usize) -> Vec<Hold> {
        let found = self.table.last_to_expire(at_most);
        let between = self.known.shared_between.as_ref();
        let is_behind = |hold: &Hold| {
            between.is_some_and(|(_, (end, owner))| (*end, owner) <= (hold.end(), &hold.owner))
        };
        let are_known = found.len() == at_most && found.last().is_none_or(is_behind);
        self.certain(self.known.all_shared || are_known, found)
    }

    fn nth_to_expire(&self, n: u64) -> Option<u64> {
        let found = self.table.nth_to_expire(n);
        let between = self.known.shared_between.as_ref();
        let is_known =
            found.is_some_and(|end| between.is_some_and(|((first, _), _)| end <= *first));
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
            || self.known.waiters.contains(id)
            || self.changes.waiters.contains_key(id);
        self.whole(self.certain(is_known || found.is_some(), found))
    }

    fn first_waiting(&self) -> Option<Waiter> {
        let found = self.table.first_waiting();
        let found = self.certain(self.knows_up_to(found.as_ref()), found);
        self.whole(found)
    }

    fn last_waiting(&self) -> Option<Waiter> {
        // It may have left or have an earlier place, and the one before it is not known.
        let before = self.known.last.as_ref();
        let is_last = |waiter| before.is_some_and(|before| *before <= place(waiter));
        let is_known = self.known.all_waiters
            || self.known.all_places
            || self.place_now(before).as_ref().is_some_and(is_last);
        let found = self.certain(is_known, self.table.last_waiting());
        self.whole(found)
    }

    fn first_waiting_to_share(&self) -> Option<Waiter> {
        // It may have left, have a later place or share no longer.
        let before = self.known.first_to_share.as_ref();
        let is_first = |before| {
            let now = self.place_now(Some(before));
            now.is_some_and(|waiter| waiter.shares() && place(&waiter) <= *before)
        };
        let is_known = self.known.all_waiters || before.is_none_or(is_first);
        self.certain(is_known, self.table.first_waiting_to_share())
    }

    fn first_waiters(&self, at_most: usize) -> Vec<Waiter> {
        let found = self.table.first_waiters(at_most);
        let is_stub = |waiter: &Waiter| self.known.stubs.contains(&waiter.contender.id);
        let is_full = found.len() == at_most && self.knows_up_to(found.last());
        let are_known = self.known.all_waiters || self.known.all_places || is_full;
        self.certain(are_known && !found.iter().any(is_stub), found)
    }

    fn count_waiting(&self, ticket: u64, at_most: u64) -> u64 {
        let count = self.table.count_waiting(ticket, at_most);
        let horizon = self.known.horizon.as_ref();
        let is_near = horizon.is_some_and(|(last, _)| ticket < *last);
        let is_known =
            self.known.all_waiters || self.known.all_places || is_near || count == at_most;
        self.certain(is_known, count)
    }

    fn put_waiter(&mut self, waiter: Waiter) {
        let id = waiter.contender.id.clone();
        self.changes
            .waiters
            .insert(id.clone(), Some(waiter.clone()));
        self.known.stubs.remove(&id);
        // A skipped one may be forgotten at once.
        self.known.has_old |= waiter.seen.is_none();
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
            || self.known.waiters.contains(id)
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
        if !self.certain(!self.known.has_more_old, self.known.has_old) {
            return Forgotten::default();
        }
        // The table does not name the rows that it forgets.
        let waiters: Vec<_> = self.table.waiter_ids().collect();
        let notes: Vec<_> = self.table.note_ids().collect();
        let forgotten = self.table.forget_before(moment);
        for id in waiters {
            if self.table.waiter(&id).is_none() {
                self.changes.waiters.insert(id, None);
            }
        }
        for (note, id) in notes {
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
        (self.known.has_old, self.known.has_more_old) = (false, false);
    }

    fn run(&self) -> Option<Run> {
        let is_known = self.known.run || self.changes.run.is_some();
        self.certain(is_known, self.table.run())
    }

    fn put_run(&mut self, run: Run) {
        self.changes.run = Some(run.clone());
        self.table.put_run(run);
    }
}
