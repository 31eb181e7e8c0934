//! What can be seen of a resource.

use std::sync::Arc;

use super::answer::HolderView;

/// What can be seen of a resource, without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who holds.
    pub holder: Option<HolderView>,
    /// How many wait, those that were passed over not counted.
    pub waiting: u64,
    /// The first of those who wait, in order, at most [`Status::MOST_WAITERS`].
    pub waiters: Vec<WaiterView>,
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
}
