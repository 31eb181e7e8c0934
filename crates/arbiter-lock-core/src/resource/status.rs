//! What can be seen of a resource.

use std::sync::Arc;

use super::answer::HolderView;

/// What can be seen of a resource, without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who holds.
    pub holder: Option<HolderView>,
    /// What the holder proclaims.
    pub value: Option<Arc<str>>,
    /// Those who share, where they do.
    pub sharing: Option<SharingView>,
    /// How many wait, those that were passed over not counted.
    pub waiting: u64,
    /// The first of those who wait, in order, at most [`Status::MOST_WAITERS`].
    pub waiters: Vec<WaiterView>,
}

/// Those who share, as others see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharingView {
    /// What they may weigh together.
    pub limit: Option<u32>,
    /// What they weigh together.
    pub weight: u64,
    /// How many they are.
    pub count: u64,
    /// Those whose holds last longest, at most [`Status::MOST_SHARERS`].
    pub holders: Vec<SharerView>,
}

/// One of those who share, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharerView {
    /// Its hold.
    pub holder: HolderView,
    /// How much of the limit it takes.
    pub weight: u32,
}

/// A waiter, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiterView {
    /// Its ticket: the store's time in µs at which it was queued.
    pub ticket: u64,
    /// Who it is.
    pub label: Arc<str>,
}

impl Status {
    /// How many waiters are listed at the most.
    pub const MOST_WAITERS: usize = 100;
    /// How many of those who share are listed at the most.
    pub const MOST_SHARERS: usize = 100;
}
