//! The rw lock: many readers, or one writer.

use std::num::NonZeroU32;
use std::time::Duration;

use arbiter_lock_core::{Limit, Mode};

use crate::errors::error::Error;
use crate::holds::guard::Guard;
use crate::holds::hold::Hold;
use crate::primitives::lock::Lock;
use crate::primitives::options::setters_of_the_lock;
use crate::status::Status;

/// How a reader holds.
pub(crate) const READ: Mode = Mode::Shared {
    weight: NonZeroU32::MIN,
    limit: Limit::Unlimited,
};

/// A lock that any number of readers hold together, or one writer alone. Cheap to clone.
///
/// Readers and writers stand in one queue, in order of arrival: a reader behind a waiting writer
/// waits, so that no writer starves. A [`Lock`] of the same name is another writer. A
/// [`Semaphore`](crate::Semaphore) of that name and readers do not mix: whoever comes second is
/// refused.
///
/// Each reader has a lease of its own. Re-entry is asked for, by a
/// [`Session`](crate::Session): a task that holds a read and acquires again without one may wait
/// for itself, as a reader too, once a writer waits between. No reader becomes a writer while it
/// holds: it releases first. A writer becomes a reader by
/// [`Guard::downgrade`](crate::Guard::downgrade).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let catalogue = client.rw_lock("catalogue");
///
/// let one = catalogue.read().await?;
/// let other = catalogue.read().await?;
/// assert!(catalogue.try_write().await?.is_none());
/// one.release().await?;
/// other.release().await?;
///
/// let writer = catalogue.write().await?;
/// assert!(catalogue.try_read().await?.is_none());
/// writer.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct RwLock {
    lock: Lock,
}

impl RwLock {
    pub(crate) fn new(lock: Lock) -> Self {
        Self { lock }
    }

    setters_of_the_lock!();

    /// The name of the resource, as it was given and where it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.lock.name()
    }

    /// Acquires it as a reader, in order of arrival.
    ///
    /// # Errors
    /// As [`Lock::acquire`]; [`Error::Refused`] too where the resource is shared under a limit.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn read(&self) -> Result<Guard, Error> {
        self.reader().acquire().await
    }

    /// Acquires it as a reader if that is possible at once, and nobody waits for it.
    ///
    /// # Errors
    /// As [`RwLock::read`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_read(&self) -> Result<Option<Guard>, Error> {
        self.reader().try_acquire().await
    }

    /// Runs the work while holding the lock as a reader: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`RwLock::read`], and [`Error::Lost`] if the hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper releases the lock.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let catalogue = arbiter_lock::Client::in_memory().rw_lock("catalogue");
    /// let is_shared = catalogue.run_read(|hold| async move { hold.is_shared() }).await?;
    /// assert!(is_shared);
    /// # Ok(()) }
    /// ```
    pub async fn run_read<F, W>(&self, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        self.reader().run(work).await
    }

    /// Acquires it as the writer, in order of arrival.
    ///
    /// # Errors
    /// As [`Lock::acquire`]; [`Error::Invalid`] too in a session that holds it as a reader.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn write(&self) -> Result<Guard, Error> {
        self.lock.acquire().await
    }

    /// Acquires it as the writer if that is possible at once, and nobody waits for it.
    ///
    /// # Errors
    /// As [`RwLock::write`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_write(&self) -> Result<Option<Guard>, Error> {
        self.lock.try_acquire().await
    }

    /// Runs the work while holding the lock as the writer: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`RwLock::write`], and [`Error::Lost`] if the hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper releases the lock.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let catalogue = arbiter_lock::Client::in_memory().rw_lock("catalogue");
    /// let fence = catalogue.run_write(|hold| async move { hold.fence() }).await?;
    /// assert!(0 < fence);
    /// # Ok(()) }
    /// ```
    pub async fn run_write<F, W>(&self, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        self.lock.run(work).await
    }

    /// Returns who holds the resource and who waits: as [`Lock::inspect`].
    ///
    /// # Errors
    /// As [`Lock::inspect`].
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn inspect(&self) -> Result<Status, Error> {
        self.lock.inspect().await
    }

    fn reader(&self) -> Lock {
        self.lock.in_mode(READ)
    }
}
