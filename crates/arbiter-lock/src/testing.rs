//! Losses and faults of the store on demand, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Name;
use tokio::runtime::Handle;

use crate::engine::Engine;
use crate::errors::lost_reason::LostReason;
use crate::store::memory::{FaultInjection, MemoryStore};
use crate::system::rng;

/// Injects losses and faults of the store, on demand: see
/// [`Client::testing`](crate::Client::testing).
///
/// Faults of the store need a memory store. With another store these methods panic, so that no test
/// passes because nothing happened. In a forked process they do nothing.
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
/// // Time is paused, so this returns at once: the lease runs out without renewal.
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

    /// Expires the hold of that name in the store, and grants the next waiter.
    ///
    /// The holder detects the loss at its next renewal. Returns whether there was a hold.
    ///
    /// # Panics
    /// If the client does not use a memory store, or the name is invalid.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("job").acquire().await?;
    /// assert!(client.testing().expire("job"));
    /// assert!(guard.release().await.unwrap_err().is_lost());
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn expire(&self, name: &str) -> bool {
        let Some(store) = self.store("expire") else {
            return false;
        };
        match Name::new(name) {
            Ok(name) => store.expire(self.inner.store.key_prefix(), name),
            Err(error) => panic!("expire failed: {error}; pass the name of a lock"),
        }
    }

    /// Loses all holds of that name of this client, for that reason. Works with every store.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// use arbiter_lock::LostReason;
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("job").acquire().await?;
    /// client.testing().lose("job", LostReason::Deleted);
    /// assert_eq!(guard.lost().await, LostReason::Deleted);
    /// # Ok(()) }
    /// ```
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

    /// Injects faults from now on, at the rates of `faults`.
    ///
    /// It delays, loses and duplicates messages between this store and all its clients.
    /// [`Testing::seed`] makes the random choices repeatable.
    ///
    /// # Panics
    /// If the client does not use a memory store.
    #[track_caller]
    pub fn inject_faults(&self, faults: FaultInjection) {
        if let Some(store) = self.store("inject_faults") {
            store.set_faults(Some(faults));
        }
    }

    /// Ends the injection of faults. Messages in transit still arrive.
    ///
    /// # Panics
    /// If the client does not use a memory store.
    #[track_caller]
    pub fn stop_faults(&self) {
        if let Some(store) = self.store("stop_faults") {
            store.set_faults(None);
        }
    }

    /// Makes the store's clock gain that many microseconds per second on the clients' clocks.
    ///
    /// A negative number makes it slow.
    ///
    /// # Panics
    /// If the client does not use a memory store.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// client.testing().drift(10_000); // the store's clock is 1 % fast
    /// let guard = client.lock("job").acquire().await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn drift(&self, gains_us: i32) {
        if let Some(store) = self.store("drift") {
            store.drift(gains_us.into());
        }
    }

    /// Delays all messages between the store and this runtime of the client for that long, while
    /// [`Testing::inject_faults`] is in force. Then all of them arrive.
    ///
    /// # Panics
    /// If the client does not use a memory store, or outside a tokio runtime.
    #[track_caller]
    pub fn stall(&self, time: Duration) {
        let Some(store) = self.store("stall") else {
            return;
        };
        assert!(
            Handle::try_current().is_ok(),
            "stall failed: there is no tokio runtime here, and it holds back the messages of one; call it within the runtime that uses the client"
        );
        // Its channel is the same for all names.
        if let Ok(any) = Name::new("any") {
            store.stall(&self.inner.handle().channel(&any), time);
        }
    }

    /// Returns how often each fault and situation occurred while [`Testing::inject_faults`] was in
    /// force.
    ///
    /// # Panics
    /// If the client does not use a memory store.
    #[must_use]
    #[track_caller]
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let store = self.store("counters");
        store.map_or_else(BTreeMap::new, |store| store.counters().counts())
    }

    /// Seeds all random choices on this thread: request ids, the lengths of pauses, injected
    /// faults.
    ///
    /// A test on paused time and one thread that calls it first, before it makes its clients, is
    /// deterministic.
    pub fn seed(seed: u64) {
        rng::seeded::seed(seed);
    }

    /// Blocks the thread until all events so far are logged, for at most 10 s of real time.
    ///
    /// The logger's thread does not use the runtime's paused time.
    pub fn deliver_events(&self) {
        self.inner.events.flush(Duration::from_secs(10));
    }

    /// Stops the store from answering, until [`Testing::answer`].
    ///
    /// # Panics
    /// If the client does not use a memory store.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// # let client = arbiter_lock::Client::in_memory();
    /// client.testing().go_silent();
    /// let lock = client.lock("job").wait_timeout(Duration::from_secs(1));
    /// assert!(lock.acquire().await.unwrap_err().is_unavailable());
    /// client.testing().answer();
    /// lock.acquire().await?.release().await?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn go_silent(&self) {
        if let Some(store) = self.store("go_silent") {
            store.set_silent(true);
        }
    }

    /// Lets the store answer again, after [`Testing::go_silent`].
    ///
    /// # Panics
    /// If the client does not use a memory store.
    #[track_caller]
    pub fn answer(&self) {
        if let Some(store) = self.store("answer") {
            store.set_silent(false);
        }
    }

    /// Returns the memory store, or `None` in a forked process.
    ///
    /// # Panics
    /// If the client uses another store.
    #[track_caller]
    fn store(&self, operation: &str) -> Option<&MemoryStore> {
        self.inner.check_process().ok()?;
        let store = &self.inner.store;
        let memory = store.as_memory();
        assert!(
            memory.is_some(),
            "{operation} failed: this client uses {store}, and only a memory store can do that; make it by Client::in_memory, or connect to memory: or memory:NAME"
        );
        memory
    }
}

impl std::fmt::Debug for Testing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testing").finish_non_exhaustive()
    }
}
