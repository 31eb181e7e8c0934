//! A reading of the locks: the first rows of an order, and the totals.

use std::time::{Duration, Instant};

use arbiter_lock::Listed;

use crate::cli::SortKey;
use crate::commands::r#break::ShownHold;
use crate::commands::row::{Rank, Row};

/// How many rows are kept. The totals count the other locks, too.
pub(super) const MOST_ROWS: usize = 1_000;

/// A lock that was read.
#[derive(Clone, Debug)]
pub(super) struct TopRow {
    /// The name as it is in the store.
    pub(super) name: String,
    pub(super) row: Row,
    /// The hold, if it is the only one of the lock.
    pub(super) hold: Option<ShownHold>,
    pub(super) held: Option<Duration>,
    pub(super) remaining: Option<Duration>,
    pub(super) waiting: u64,
    pub(super) is_held: bool,
}

impl TopRow {
    pub(super) fn of(lock: &Listed) -> Self {
        let (rank, status) = (Rank::of(lock), &lock.status);
        let only = match &status.sharing {
            Some(sharing) if sharing.count == 1 => sharing.holders.first().map(|s| &s.holder),
            Some(_) => None,
            None => status.holder.as_ref(),
        };
        Self {
            name: lock.name.clone(),
            row: Row::of(lock),
            hold: only.map(ShownHold::of),
            held: rank.held,
            remaining: rank.remaining,
            waiting: rank.waiting,
            is_held: status.is_held(),
        }
    }

    fn rank(&self) -> Rank<'_> {
        Rank {
            name: &self.name,
            held: self.held,
            remaining: self.remaining,
            waiting: self.waiting,
        }
    }

    /// Returns whether the name or the holder contains a text, which is in lower case.
    pub(super) fn contains(&self, text: &str) -> bool {
        let has = |column: &str| column.to_lowercase().contains(text);
        text.is_empty() || has(&self.row.name) || has(&self.row.holder)
    }
}

/// How many locks and waiters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) locks: u64,
    pub(super) held: u64,
    pub(super) waited_for: u64,
    pub(super) waiters: u64,
    /// The locks that the filter selects.
    pub(super) matching: u64,
}

impl Totals {
    fn add(&mut self, row: &TopRow) {
        self.locks += 1;
        self.held += u64::from(row.is_held);
        self.waited_for += u64::from(0 < row.waiting);
        self.waiters = self.waiters.saturating_add(row.waiting);
    }

    fn remove_match(&mut self, row: &TopRow) {
        self.locks -= 1;
        self.held -= u64::from(row.is_held);
        self.waited_for -= u64::from(0 < row.waiting);
        self.waiters = self.waiters.saturating_sub(row.waiting);
        self.matching -= 1;
    }
}

/// The first rows of the locks that were read, at most [`MOST_ROWS`].
#[derive(Clone, Debug)]
pub(super) struct Reading {
    key: SortKey,
    /// The filter, in lower case.
    filter: String,
    pub(super) rows: Vec<TopRow>,
    pub(super) totals: Totals,
    /// When it began.
    pub(super) begun: Instant,
    /// Whether all locks were read.
    pub(super) is_whole: bool,
}

impl Reading {
    pub(super) fn new(key: SortKey, filter: &str, begun: Instant) -> Self {
        Self {
            key,
            filter: filter.to_lowercase(),
            rows: Vec::new(),
            totals: Totals::default(),
            begun,
            is_whole: false,
        }
    }

    pub(super) fn add(&mut self, row: TopRow) {
        self.totals.add(&row);
        if !row.contains(&self.filter) {
            return;
        }
        self.totals.matching += 1;
        self.rows.push(row);
        if 2 * MOST_ROWS <= self.rows.len() {
            self.prune();
        }
    }

    /// Orders the rows. The list has ended.
    pub(super) fn finish(&mut self) {
        self.prune();
        self.is_whole = true;
    }

    /// Orders the rows by another key.
    pub(super) fn sort(&mut self, key: SortKey) {
        self.key = key;
        self.rows.sort_by(|a, b| a.rank().compare(&b.rank(), key));
    }

    /// Returns whether rows of another order or filter may be missing.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.is_whole || !self.filter.is_empty() || (self.rows.len() as u64) < self.totals.matching
    }

    /// Orders the rows, and removes the last ones. Of a name that was returned twice, the later row
    /// counts.
    pub(super) fn prune(&mut self) {
        self.rows.sort_by(|a, b| a.name.cmp(&b.name));
        let totals = &mut self.totals;
        self.rows.dedup_by(|later, earlier| {
            let is_again = later.name == earlier.name;
            if is_again {
                std::mem::swap(later, earlier);
                totals.remove_match(later);
            }
            is_again
        });
        self.sort(self.key);
        self.rows.truncate(MOST_ROWS);
    }
}
