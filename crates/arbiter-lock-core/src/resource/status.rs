//! The visible state of a resource.

use std::sync::Arc;

use super::answer::HolderView;

/// The visible state of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The holder.
    pub holder: Option<HolderView>,
    /// The value that the holder proclaims.
    pub value: Option<Arc<str>>,
    /// The shared holds, if any.
    pub sharing: Option<SharingView>,
    /// The number of waiters, without those that were skipped.
    pub waiting: u64,
    /// The first waiters, in order, at most [`Status::MOST_WAITERS`].
    pub waiters: Vec<WaiterView>,
}

/// The shared holds, as other clients see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharingView {
    /// The limit of the total weight.
    pub limit: Option<u32>,
    /// The total weight.
    pub weight: u64,
    /// The number of shared holds.
    pub count: u64,
    /// The holders that expire last, at most [`Status::MOST_SHARERS`].
    pub holders: Vec<SharerView>,
}

/// A shared hold, as other clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharerView {
    /// The holder.
    pub holder: HolderView,
    /// The weight of the hold.
    pub weight: u32,
}

/// A waiter, as other clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// The ticket: the store's time in µs at which the waiter was queued.
    pub ticket: u64,
    /// The waiter's label.
    pub label: Arc<str>,
}

impl Status {
    /// The maximum number of waiters in a status.
    pub const MOST_WAITERS: usize = 100;
    /// The maximum number of shared holds in a status.
    pub const MOST_SHARERS: usize = 100;
}
