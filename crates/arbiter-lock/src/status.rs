//! The status of a resource: its holders and its waiters.

use std::time::Duration;

use arbiter_lock_core::{HolderView, Moment, SHARED_OWNER, SharerView, SharingView, is_detached};

use crate::label::Label;

/// The holders and waiters of a resource, at one moment of the store's clock.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// # let client = arbiter_lock::Client::in_memory();
/// let guard = client.lock("report").acquire().await?;
/// let status = client.lock("report").inspect().await?;
/// if let Some(holder) = &status.holder {
///     println!("held by {}, {} waiting", holder.label, status.waiting);
/// }
/// # assert!(status.is_held());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The holder, or `None` if the resource is free.
    pub holder: Option<Holder>,
    /// The value that the holder proclaims: see [`Election`](crate::Election).
    pub value: Option<String>,
    /// The shared holders, if the resource is shared.
    pub sharing: Option<Sharing>,
    /// The number of waiters. A waiter that died counts until it is skipped.
    pub waiting: u64,
    /// The first 100 waiters, in order.
    pub waiters: Vec<Waiter>,
}

/// The shared holders of a resource: readers, or holders of permits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sharing {
    /// The limit of permits, or `None` for readers.
    pub limit: Option<u32>,
    /// The number of permits that are held, or of readers.
    pub weight: u64,
    /// The number of holders.
    pub count: u64,
    /// The 100 holders whose holds last longest, the longest first.
    pub holders: Vec<Sharer>,
}

/// A shared holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sharer {
    /// The holder.
    pub holder: Holder,
    /// The number of permits that it holds, or 1 for a reader.
    pub weight: u32,
}

/// A holder of a resource.
///
/// If several holders share the resource, [`Status::holder`] represents all of them
/// ([`Holder::is_shared`]), with the data of the hold that lasts longest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The owner as recorded in the store.
    pub owner: String,
    /// The fencing token, or `None` for a holder of the Go library. For a shared holder it is not a
    /// token, but identifies the period of sharing.
    pub fence: Option<u64>,
    /// How long it has held, if known.
    pub held: Option<Duration>,
    /// How long the hold lasts without renewal, or `None` if an operator removed its expiry.
    pub remaining: Option<Duration>,
    /// The process that holds.
    pub label: Label,
}

/// A waiter for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Its place in the queue, from 1.
    pub place: u64,
    /// How long it has waited.
    pub waited: Duration,
    /// The process that waits.
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

    /// Returns whether the resource is held.
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
    /// Returns whether it represents all shared holders.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.fence.is_some() && self.owner == SHARED_OWNER
    }

    /// Returns whether the hold is detached, so that no process renews it: see
    /// [`Guard::into_token`](crate::Guard::into_token).
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.fence.is_some() && is_detached(&self.owner)
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
