//! One resource: its holds, its queue, and the steps that change them.
//!
//! A waiter is **live** if it has polled within the last 2.5 s, and since the last grant that
//! expired. After every step except `renew`, `inspect` and the steps for tests, no live waiter is
//! left that could be granted. The exception is a step that answers `again`.

mod answer;
mod contender;
#[cfg(feature = "testing")]
mod external;
mod fence;
mod hand_off;
mod holds;
mod queue;
mod request;
mod rows;
mod runs;
mod sharing;
mod status;
mod steps;
mod table;
mod transfer;

pub use answer::{
    Acquired, Answer, Broken, Downgraded, Ended, Grant, HolderView, Refusal, Renewed, Resized,
    Tried, Written,
};
pub use contender::{Contender, Limit, Mode};
pub use hand_off::{MAX_STEPS, provisional_ttl_ms};
pub use holds::SHARED_OWNER;
pub use queue::PLACES;
pub use request::{Renewal, Reply, Request};
pub use rows::{Forgotten, Hold, Note, Root, Rows, Run, Sharing, Waiter};
pub use runs::LONGEST_RUN_MS;
pub use status::{SharerView, SharingView, Status, WaiterView};
pub use table::Table;
pub use transfer::{detached_id, is_detached};

use crate::Moment;

/// The longest interval between two polls of a waiter, in milliseconds.
pub const POLL_INTERVAL_MS: u64 = 1_000;

/// How many waiters poll after the expiry of one hold. More than one poll, since the waiters ahead
/// may have left or been granted since their last poll.
pub const EXPIRY_WATCHERS: u64 = 4;

/// A leased, weighted, first-come-first-served resource with exclusive and shared holds.
///
/// # Examples
/// ```
/// use arbiter_lock_core::{Acquired, Ended, Mode, Moment, Contender, Resource};
///
/// let request = |id: &str| Contender {
///     id: id.into(),
///     mode: Mode::Exclusive,
///     lease_ms: 30_000,
///     channel: id.into(),
///     label: "".into(),
/// };
/// let everyone_listens = |_: &str| true;
/// let mut resource = Resource::default();
/// let now = Moment::from_micros(1_000_000);
///
/// let first = resource.acquire(now, &request("a"), None, everyone_listens);
/// assert!(matches!(first.reply, Acquired::Granted { ttl_ms: 30_000, .. }));
/// let second = resource.acquire(now, &request("b"), None, everyone_listens);
/// assert!(matches!(second.reply, Acquired::Queued { place: 1, .. }));
///
/// let release = resource.end(now, "a", false, everyone_listens);
/// assert_eq!(release.reply, Ended::Released);
/// assert_eq!(&*release.granted[0].request, "b");
/// ```
#[derive(Clone, Debug)]
pub struct Resource<R = Table> {
    rows: R,
    date: Option<Moment>,
}

impl Default for Resource<Table> {
    fn default() -> Self {
        Self::new(Table::default())
    }
}

impl<R: Rows> Resource<R> {
    /// Creates a resource on the given records.
    pub fn new(rows: R) -> Self {
        Self { rows, date: None }
    }

    /// Sets the date for records of runs, if the clock that decides leases does not show dates.
    pub fn set_date(&mut self, date: Moment) {
        self.date = Some(date);
    }

    fn date(&self, now: Moment) -> Moment {
        self.date.unwrap_or(now)
    }

    /// Returns the records.
    pub fn rows(&self) -> &R {
        &self.rows
    }

    /// Returns the records, as the steps have left them.
    pub fn into_rows(self) -> R {
        self.rows
    }

    /// Returns whether nothing is held or remembered, so that the records can be dropped.
    pub fn is_forgotten(&mut self, now: Moment) -> bool {
        self.settle(now);
        self.prune_queue(now);
        self.root().is_forgotten(now) && self.last_run(now).is_none()
    }

    /// Ends everything that has expired. Every step begins with it.
    fn settle(&mut self, now: Moment) {
        self.expire_queue(now);
        let expired = self.expire_holds(now);
        if expired.is_empty() {
            return;
        }
        if self.is_free() {
            self.latest_grant_expired();
        } else {
            self.some_expired(&expired);
        }
    }

    fn root(&self) -> &Root {
        self.rows.root()
    }

    fn root_mut(&mut self) -> &mut Root {
        self.rows.root_mut()
    }
}
