//! A lock as a row of a list, and the order of rows.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use arbiter_lock::{Holder, Listed, Printable, Seconds, Status};

use super::kind::Kind;
use crate::cli::{Selection, SortKey};

/// The columns of a row, as text for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) held: String,
    pub(super) remaining: String,
    pub(super) waiting: String,
    pub(super) holder: String,
}

impl Row {
    /// Returns the titles of the columns.
    pub(super) fn titles() -> Self {
        let [name, kind, held, remaining, waiting, holder] =
            ["NAME", "KIND", "HELD", "REMAINING", "WAITING", "HOLDER"].map(str::to_owned);
        Self {
            name,
            kind,
            held,
            remaining,
            waiting,
            holder,
        }
    }

    pub(super) fn of(Listed { name, status, .. }: &Listed) -> Self {
        let shown = |time: Option<Seconds>| time.map_or("-".to_owned(), |time| time.to_string());
        let holder = status.holder.as_ref();
        Self {
            name: Printable(name).to_string(),
            kind: kind(status),
            held: shown(holder.and_then(|holder| holder.held).map(Seconds)),
            remaining: shown(
                holder
                    .and_then(|holder| holder.remaining)
                    .map(Seconds::left),
            ),
            waiting: status.waiting.to_string(),
            holder: match (&status.sharing, holder) {
                (Some(sharing), _) if 1 < sharing.count => format!("{} holders", sharing.count),
                (_, Some(holder)) => described(holder),
                (_, None) => "-".to_owned(),
            },
        }
    }
}

/// Describes a holder in a few words.
pub(super) fn described(holder: &Holder) -> String {
    match holder.label.program {
        None => format!("owner {}", Printable(&holder.owner)),
        Some(_) if holder.is_detached() => {
            Printable(&format!("detached by {}", holder.label)).to_string()
        }
        Some(_) => Printable(&holder.label.to_string()).to_string(),
    }
}

/// Returns how the lock is held, as the list shows it.
pub(super) fn kind(status: &Status) -> String {
    let sharing = status.sharing.as_ref();
    match (Kind::of(status), sharing.and_then(|sharing| sharing.limit)) {
        (Some(Kind::Permits), Some(limit)) => {
            let weight = sharing.map_or(0, |sharing| sharing.weight);
            format!("{weight}/{limit} permits")
        }
        (Some(kind), _) => kind.name().to_owned(),
        (None, _) => "free".to_owned(),
    }
}

/// The facts that order rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rank<'a> {
    pub(super) name: &'a str,
    pub(super) held: Option<Duration>,
    pub(super) remaining: Option<Duration>,
    pub(super) waiting: u64,
}

impl<'a> Rank<'a> {
    pub(super) fn of(Listed { name, status, .. }: &'a Listed) -> Self {
        let holder = status.holder.as_ref();
        Self {
            name,
            held: holder.and_then(|holder| holder.held),
            remaining: holder.and_then(|holder| holder.remaining),
            waiting: status.waiting,
        }
    }

    /// Compares by the key, and then by the waiters, the age and the name.
    pub(super) fn compare(&self, other: &Self, key: SortKey) -> Ordering {
        let by_key = match key {
            SortKey::Name => self.name.cmp(other.name),
            SortKey::Held => Reverse(self.held).cmp(&Reverse(other.held)),
            SortKey::Remaining => {
                let remaining = |rank: &Self| rank.remaining.unwrap_or(Duration::MAX);
                remaining(self).cmp(&remaining(other))
            }
            SortKey::Waiting => Ordering::Equal,
        };
        let rest = |rank: &Self| (Reverse(rank.waiting), Reverse(rank.held));
        by_key
            .then_with(|| rest(self).cmp(&rest(other)))
            .then_with(|| self.name.cmp(other.name))
    }
}

/// Returns whether the flags select a lock.
pub(super) fn is_wanted(selection: &Selection, status: &Status) -> bool {
    let is_host = |holder: &Holder| holder.label.host == selection.held_by;
    let sharers = status.sharing.iter().flat_map(|sharing| &sharing.holders);
    let mut holders = status.holder.iter().chain(sharers.map(|s| &s.holder));
    let is_held_by = selection.held_by.is_none() || holders.any(is_host);
    is_held_by && (!selection.waited || 0 < status.waiting)
}
