//! For tests of your own loss paths: what a store can do to a hold, on demand.

use std::sync::Arc;

use arbiter_lock_core::Name;

use crate::client::Inner;
use crate::lost_reason::LostReason;

/// What a store can do to a hold, on demand: see [`Client::testing`](crate::Client::testing).
///
/// # Examples
/// ```
/// use arbiter_lock::{Client, LostReason};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = Client::in_memory();
/// let guard = client.lock("job").acquire().await?;
/// client.testing().go_silent();
/// // Time is paused, so this takes none: the lease runs out with nobody to renew it.
/// assert_eq!(guard.lost().await, LostReason::Unreachable);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Testing {
    inner: Arc<Inner>,
}

impl Testing {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// The store ends the hold of that name as at the end of its lease, and grants the next
    /// waiter; the holder is told at its next renewal.
    pub fn lapse(&self, name: &str) {
        if let (Some(world), Ok(name)) = (self.inner.store.world(), Name::new(name)) {
            world.lapse(&name);
        }
    }

    /// The holds that this client has of that name are lost now, for that reason.
    pub fn lose(&self, name: &str, reason: LostReason) {
        for hold in self
            .inner
            .keeper
            .all()
            .iter()
            .filter(|hold| hold.name.as_str() == name)
        {
            hold.give_up(reason);
        }
    }

    /// The store answers nobody any more.
    pub fn go_silent(&self) {
        if let Some(world) = self.inner.store.world() {
            world.set_silent(true);
        }
    }

    /// The store answers again.
    pub fn answer(&self) {
        if let Some(world) = self.inner.store.world() {
            world.set_silent(false);
        }
    }
}

impl std::fmt::Debug for Testing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testing").finish_non_exhaustive()
    }
}
