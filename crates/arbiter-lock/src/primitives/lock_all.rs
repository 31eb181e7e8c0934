//! Several names under one guard.
//!
//! They are taken one by one in the order of their bytes, so that two who want some of the same
//! never wait for each other in a circle.

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

/// Several locks that are taken together. Cheap to clone.
///
/// They are taken one by one, in the order of their names' bytes and waiting for one at a time:
/// all who use it on names that overlap get their turn, in whatever order they list them. A name
/// that is listed twice counts once. Nothing is atomic about it: others see the first of the
/// locks held while the last is waited for. On a failure, or when the time is over, whatever was
/// taken is given back.
///
/// The options are those of each lock; [`LockAll::wait_timeout`] is for all of them together.
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
    /// What each lock is made of.
    lock: Lock,
    /// In order, each once.
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

    /// The names, in the order in which they are taken.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Acquires all of them.
    ///
    /// # Errors
    /// As [`Lock::acquire`], for the name that stood in the way. [`Error::Lost`] if one of them was
    /// lost while others were waited for. [`Error::Invalid`] too for no names at all.
    ///
    /// # Cancel safety
    /// Dropped, it gives back what it has taken, and leaves the queue, as [`Lock::acquire`] does.
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

    /// Acquires all of them if that is possible at once, and nobody waits for any. Otherwise what
    /// was taken is given back in the background.
    ///
    /// # Errors
    /// As [`LockAll::acquire`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`LockAll::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<GuardAll>, Error> {
        let trying = Self {
            lock: self.lock.clone().with_wait_limit(WaitLimit::Try),
            names: self.names.clone(),
        };
        none_if_contended(trying.acquire().await)
    }

    /// Runs the work while holding all of them; the holds come in the order of their names. The
    /// work is dropped as soon as one of them is lost. Work that has finished while all were held
    /// is `Ok`, even if a release then fails: the keeper goes on with it.
    ///
    /// # Errors
    /// As [`LockAll::acquire`], and [`Error::Lost`] if a hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper releases the locks.
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
        // The keeper goes on where this fails.
        let _ = all.release().await;
        Ok(done)
    }
}

/// Takes them in turn. Dropped, or failed, it drops what it has: that gives it back.
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

/// The error, with the time that the names before have taken.
fn after(mut error: Error, waited: Duration) -> Error {
    if let Error::Contended(contended) = &mut error {
        contended.waited += waited;
    }
    error
}

/// The names before have taken all the time.
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
