//! For tests of your own loss paths: what a store can do to a hold, on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Name;

use crate::engine::Engine;
use crate::errors::lost_reason::LostReason;
use crate::store::memory::{FaultInjection, MemoryStore};
use crate::system::rng;

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
    inner: Arc<Engine>,
}

impl Testing {
    pub(crate) fn new(inner: Arc<Engine>) -> Self {
        Self { inner }
    }

    /// The store ends the hold of that name as at the end of its lease, and grants the next
    /// waiter; the holder is told at its next renewal.
    pub fn expire(&self, name: &str) {
        if let (Some(world), Ok(name)) = (self.world(), Name::new(name)) {
            world.expire(&name);
        }
    }

    /// The holds that this client has of that name are lost now, for that reason.
    pub fn lose(&self, name: &str, reason: LostReason) {
        if self.inner.check_process().is_err() {
            return;
        }
        for hold in self
            .inner
            .keeper
            .all()
            .iter()
            .filter(|hold| hold.name.as_str() == name)
        {
            self.inner.keeper.lose(hold, reason);
        }
    }

    /// From now on the messages between this store and all its clients are late, lost and
    /// doubled, as it is said there and as chance has it: see [`Testing::seed`].
    pub fn inject_faults(&self, weather: FaultInjection) {
        if let Some(world) = self.world() {
            world.set_faults(Some(weather));
        }
    }

    /// The network is good again; what is under way arrives yet.
    pub fn stop_faults(&self) {
        if let Some(world) = self.world() {
            world.set_faults(None);
        }
    }

    /// From now on the store's clock gains that many microseconds in a second on its clients'; a
    /// slow one gains fewer than none.
    pub fn drift(&self, gains_us: i32) {
        if let Some(world) = self.inner.store.as_memory() {
            world.drift(gains_us.into());
        }
    }

    /// Between the store and this runtime of the client nothing arrives for that long, and then
    /// everything does, on a network that [`Testing::inject_faults`] has made.
    pub fn stall(&self, time: Duration) {
        // Its channel is the same for all names.
        if let (Some(store), Ok(any)) = (self.world(), Name::new("any")) {
            store.stall(&self.inner.handle().channel(&any), time);
        }
    }

    /// What a store on a bad network has met so far, and how often.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let world = self.world();
        world.map_or_else(BTreeMap::new, |world| world.counters().counts())
    }

    /// From now on this thread draws everything from that seed: request ids, the lengths of
    /// pauses, the weather. A test on paused time and one thread that begins with it, before its
    /// clients are made, happens the same way each time.
    pub fn seed(seed: u64) {
        rng::seeded::seed(seed);
    }

    /// Waits until the logger has logged all events so far, for at most ten seconds. These are
    /// real seconds, and they block the thread: the logger's thread knows no paused time.
    pub fn deliver_events(&self) {
        self.inner.events.flush(Duration::from_secs(10));
    }

    /// The store answers nobody any more.
    pub fn go_silent(&self) {
        if let Some(world) = self.world() {
            world.set_silent(true);
        }
    }

    /// The store answers again.
    pub fn answer(&self) {
        if let Some(world) = self.world() {
            world.set_silent(false);
        }
    }

    /// The memory store, unless this process was forked from the one that uses it.
    fn world(&self) -> Option<&MemoryStore> {
        self.inner.check_process().ok()?;
        self.inner.store.as_memory()
    }
}

impl std::fmt::Debug for Testing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testing").finish_non_exhaustive()
    }
}
