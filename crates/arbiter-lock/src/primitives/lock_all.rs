//! Several locks under one guard.
//!
//! They are acquired one by one in the order of their names' bytes, so that no two of these
//! requests wait for each other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::engine::Engine;
use crate::errors::error::{Contended, Error, HeldBy};
use crate::errors::invalid::Invalid;
use crate::holds::guard_all::GuardAll;
use crate::holds::hold::Hold;
use crate::primitives::effort::last_turn;
use crate::primitives::lock::{Lock, none_if_contended};
use crate::primitives::options::{WaitLimit, setters_of_the_lock};

/// Several locks that are acquired together.
///
/// They are acquired one by one, in the order of their names' bytes. So requests for overlapping
/// names never deadlock, in any order of the list. A name that is listed twice counts once. The
/// acquisition is not atomic: the first locks are held while the last is waited for. If it fails,
/// the locks acquired so far are released.
///
/// The options apply to each lock, except that [`LockAll::wait_timeout`] limits the whole wait. A
/// `LockAll` is cheap to clone.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let both = client.lock_all(["account:7", "account:3"]).acquire().await?;
/// assert!(both.fence("account:3") < both.fence("account:7"));
/// assert!(client.lock("account:7").try_acquire().await?.is_none());
/// both.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct LockAll {
    /// The options of each lock; its name is not used.
    lock: Lock,
    names: Arc<BTreeSet<String>>,
}

impl LockAll {
    pub(crate) fn new(lock: Lock, names: BTreeSet<String>) -> Self {
        Self {
            lock,
            names: Arc::new(names),
        }
    }

    setters_of_the_lock!();

    /// Returns the names, in the order in which they are acquired.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Acquires all locks, waiting for each that is held.
    ///
    /// # Errors
    /// As [`Lock::acquire`], for the name that failed. Also [`Error::Lost`] if a lock was lost
    /// while another was waited for, and [`Error::Invalid`] if there are no names.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`]. The locks acquired so far are released in the background.
    pub async fn acquire(&self) -> Result<GuardAll, Error> {
        if self.names.is_empty() {
            return Err(Invalid::new("names", "there is no name to lock").into());
        }
        let locks: Vec<Lock> = self.names().map(|name| self.lock.renamed(name)).collect();
        for lock in &locks {
            lock.checked_name()?;
        }
        let inner = &self.lock.inner;
        inner.run(|| acquire_each(inner.clone(), locks)).await?
    }

    /// Acquires all locks if they are free and have no waiters. Returns `None` otherwise.
    ///
    /// Locks that were acquired are then released in the background.
    ///
    /// # Errors
    /// As [`LockAll::acquire`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`LockAll::acquire`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let held = client.lock("a").acquire().await?;
    /// assert!(client.lock_all(["a", "b"]).try_acquire().await?.is_none());
    /// assert!(client.lock_all(["b", "c"]).try_acquire().await?.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn try_acquire(&self) -> Result<Option<GuardAll>, Error> {
        let trying = Self {
            lock: self.lock.clone().with_wait_limit(WaitLimit::Try),
            names: self.names.clone(),
        };
        none_if_contended(trying.acquire().await)
    }

    /// Acquires all locks, runs `work`, and releases the locks: as [`Lock::run`].
    ///
    /// The holds are passed in the order of their names' bytes. The work is dropped as soon as one
    /// of them is lost.
    ///
    /// # Errors
    /// As [`LockAll::acquire`], and [`Error::Lost`] if a hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// As [`Lock::run`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let both = client.lock_all(["a", "b"]);
    /// let names = both.run(|holds| async move { holds.len() }).await?;
    /// assert_eq!(names, 2);
    /// # Ok(()) }
    /// ```
    pub async fn run<F, W>(&self, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Vec<Hold>) -> W,
        W: Future,
    {
        let all = self.acquire().await?;
        let holds = all.guards().iter().map(|guard| guard.hold().clone());
        let done = tokio::select! {
            biased;
            loss = all.lost() => return Err(Error::Lost(Box::new(loss))),
            done = work(holds.collect()) => done,
        };
        all.check()?;
        // If this fails, the keeper continues the releases.
        let _ = all.release().await;
        Ok(done)
    }
}

/// Acquires the locks in turn. If it fails or is dropped, the drop of the guards releases them.
async fn acquire_each(inner: Arc<Engine>, locks: Vec<Lock>) -> Result<GuardAll, Error> {
    let begun = inner.clock.now();
    let mut guards = Vec::with_capacity(locks.len());
    let mut losses = FuturesUnordered::new();
    for lock in locks {
        let waited = inner.clock.now().saturating_sub(begun);
        let wait_limit = match lock.wait_limit() {
            WaitLimit::AtMost(limit) if !guards.is_empty() && !limit.is_zero() => {
                match last_turn(limit, waited) {
                    Duration::ZERO => return Err(out_of_time(&lock, waited)),
                    left => WaitLimit::AtMost(left),
                }
            }
            wait_limit => wait_limit,
        };
        let lock = lock.with_wait_limit(wait_limit);
        let guard = tokio::select! {
            biased;
            Some(error) = losses.next() => return Err(error),
            acquired = lock.acquire() => acquired.map_err(|error| after(error, waited))?,
        };
        losses.push(loss_of(guard.hold().clone()));
        guards.push(guard);
    }
    let all = GuardAll::new(guards);
    all.check()?;
    Ok(all)
}

/// Returns the error, with the time that the earlier locks took added.
fn after(mut error: Error, waited: Duration) -> Error {
    if let Error::Contended(contended) = &mut error {
        contended.waited += waited;
    }
    error
}

/// Returns the error of a wait limit that the earlier locks used up.
fn out_of_time(lock: &Lock, waited: Duration) -> Error {
    Error::Contended(Box::new(Contended {
        name: lock.name().unwrap_or_default().to_owned(),
        holder: None,
        held_by: HeldBy::Other,
        place: None,
        waited,
    }))
}

async fn loss_of(hold: Hold) -> Error {
    let reason = hold.lost().await;
    hold.state.lost(reason)
}
