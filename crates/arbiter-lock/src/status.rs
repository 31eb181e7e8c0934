//! What can be seen of a resource: who holds it, and who waits.

use std::time::Duration;

use arbiter_lock_core::{HolderView, Moment, SHARED_OWNER, SharerView, SharingView};

use crate::label::Label;

/// What can be seen of a resource, at one moment of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Who holds; nobody where it is free.
    pub holder: Option<Holder>,
    /// What the holder proclaims.
    pub value: Option<String>,
    /// Those who share, where they do.
    pub sharing: Option<Sharing>,
    /// How many wait. One who died is counted until somebody passes it over.
    pub waiting: u64,
    /// The first hundred of those who wait, in order.
    pub waiters: Vec<Waiter>,
}

/// Those who share: readers, or the holders of permits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sharing {
    /// What they may weigh together: the permits there are; none for readers.
    pub limit: Option<u32>,
    /// What they weigh together: the permits that are held.
    pub weight: u64,
    /// How many they are.
    pub count: u64,
    /// The hundred whose holds last longest, the longest first.
    pub holders: Vec<Sharer>,
}

/// One of those who share.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sharer {
    /// Who it is.
    pub holder: Holder,
    /// How many permits it holds; 1 for a reader.
    pub weight: u32,
}

/// Who holds. Where several share, it stands for all of them and tells of the one whose hold lasts
/// longest: [`Holder::is_shared`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The owner that stands in the store.
    pub owner: String,
    /// The fencing token; a holder of the Go library has none. Where several share, it is no
    /// token, but a number of their time together.
    pub fence: Option<u64>,
    /// For how long it has held, where known.
    pub held: Option<Duration>,
    /// How long the hold lasts without renewal; `None` where somebody made it immortal.
    pub remaining: Option<Duration>,
    /// Who it is.
    pub label: Label,
}

/// Who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Its place, from 1.
    pub place: u64,
    /// For how long it has waited.
    pub waited: Duration,
    /// Who it is.
    pub label: Label,
}

impl Status {
    pub(crate) fn new(status: &arbiter_lock_core::Status, at: Moment) -> Self {
        let waiter = |(place, view): (u64, &arbiter_lock_core::WaiterView)| Waiter {
            place,
            waited: since(at, view.ticket),
            label: Label::from_line(&view.label),
        };
        Self {
            holder: status.holder.as_ref().map(|view| Holder::new(view, at)),
            value: status.value.as_deref().map(str::to_owned),
            sharing: status.sharing.as_ref().map(|view| Sharing::new(view, at)),
            waiting: status.waiting,
            waiters: (1..).zip(&status.waiters).map(waiter).collect(),
        }
    }

    /// Whether anybody holds.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder.is_some()
    }
}

impl Sharing {
    fn new(view: &SharingView, at: Moment) -> Self {
        let sharer = |view: &SharerView| Sharer {
            holder: Holder::new(&view.holder, at),
            weight: view.weight,
        };
        Self {
            limit: view.limit,
            weight: view.weight,
            count: view.count,
            holders: view.holders.iter().map(sharer).collect(),
        }
    }
}

impl Holder {
    /// Whether it stands for all who share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.fence.is_some() && self.owner == SHARED_OWNER
    }

    pub(crate) fn new(view: &HolderView, at: Moment) -> Self {
        Self {
            owner: view.owner.to_string(),
            fence: view.fence,
            held: view.since.map(|moment| since(at, moment.as_micros())),
            remaining: view.remaining_ms.map(Duration::from_millis),
            label: Label::from_line(&view.label),
        }
    }
}

fn since(at: Moment, micros: u64) -> Duration {
    Duration::from_micros(at.as_micros().saturating_sub(micros))
}
