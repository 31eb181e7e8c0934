//! The rw lock: any number of readers, or one writer.

use std::num::NonZeroU32;
use std::time::Duration;

use arbiter_lock_core::{Limit, Mode};

use crate::errors::error::Error;
use crate::holds::guard::Guard;
use crate::holds::hold::Hold;
use crate::primitives::lock::Lock;
use crate::primitives::options::setters_of_the_lock;
use crate::primitives::primitive::Primitive;
use crate::status::Status;

/// The mode of a reader.
pub(crate) const READ: Mode = Mode::Shared {
    weight: NonZeroU32::MIN,
    limit: Limit::Unlimited,
};

/// A distributed reader-writer lock: any number of readers, or one writer.
///
/// Readers and writers wait in one queue, in order of arrival. A reader that arrives after a
/// waiting writer waits behind it, so writers do not starve. A [`Lock`] of the same name acts as a
/// writer. Readers and the permits of a [`Semaphore`](crate::Semaphore) cannot share a name: the
/// later request is refused.
///
/// The lock is not reentrant: a task that holds it and acquires it again may wait for itself, even
/// as a reader, if a writer waits in between. For nested locking, use a
/// [`Session`](crate::Session). A
/// reader cannot become a writer; it has to release first. A writer becomes a reader by
/// [`Guard::downgrade`](crate::Guard::downgrade).
///
/// Each reader has its own lease. An `RwLock` is a handle with options, and cheap to clone.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let catalog = client.rw_lock("catalog");
///
/// let one = catalog.read().await?;
/// let other = catalog.read().await?;
/// assert!(catalog.try_write().await?.is_none());
/// one.release().await?;
/// other.release().await?;
///
/// let writer = catalog.write().await?;
/// assert!(catalog.try_read().await?.is_none());
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
        Self {
            lock: lock.of_primitive(Primitive::RwWrite),
        }
    }

    setters_of_the_lock!();

    /// Returns the name of the resource, or `None` if it is invalid.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.lock.name()
    }

    /// Acquires the lock as a reader, waiting if a writer holds it or waits.
    ///
    /// # Errors
    /// As [`Lock::acquire`]. Also [`Error::Refused`] if permits of the resource are held.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let catalog = client.rw_lock("catalog");
    /// let (one, other) = (catalog.read().await?, catalog.read().await?);
    /// assert!(one.is_shared() && other.is_held());
    /// # Ok(()) }
    /// ```
    pub async fn read(&self) -> Result<Guard, Error> {
        self.reader().acquire().await
    }

    /// Acquires the lock as a reader if no writer holds it and there are no waiters. Returns `None`
    /// otherwise.
    ///
    /// # Errors
    /// As [`RwLock::read`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_read(&self) -> Result<Option<Guard>, Error> {
        self.reader().try_acquire().await
    }

    /// Acquires the lock as a reader, runs `work`, and releases the lock: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`RwLock::read`], and [`Error::Lost`] if the hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// As [`Lock::run`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let catalog = arbiter_lock::Client::in_memory().rw_lock("catalog");
    /// let is_shared = catalog.run_read(|hold| async move { hold.is_shared() }).await?;
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

    /// Acquires the lock as the writer, waiting if it is held.
    ///
    /// # Errors
    /// As [`Lock::acquire`]. Also [`Error::Invalid`] in a session that holds it as a reader.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let catalog = client.rw_lock("catalog");
    /// let writer = catalog.write().await?;
    /// assert!(catalog.try_read().await?.is_none());
    /// println!("write with the fence {}", writer.fence());
    /// # Ok(()) }
    /// ```
    pub async fn write(&self) -> Result<Guard, Error> {
        self.lock.acquire().await
    }

    /// Acquires the lock as the writer if it is free and has no waiters. Returns `None` otherwise.
    ///
    /// # Errors
    /// As [`RwLock::write`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_write(&self) -> Result<Option<Guard>, Error> {
        self.lock.try_acquire().await
    }

    /// Acquires the lock as the writer, runs `work`, and releases the lock: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`RwLock::write`], and [`Error::Lost`] if the hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// As [`Lock::run`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let catalog = arbiter_lock::Client::in_memory().rw_lock("catalog");
    /// let fence = catalog.run_write(|hold| async move { hold.fence() }).await?;
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

    /// Returns the holders and the waiters of the resource: as [`Lock::inspect`].
    ///
    /// # Errors
    /// As [`Lock::inspect`].
    ///
    /// # Cancel safety
    /// The call changes nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let catalog = client.rw_lock("catalog");
    /// let readers = (catalog.read().await?, catalog.read().await?);
    /// let sharing = catalog.inspect().await?.sharing.expect("shared holds");
    /// assert_eq!((sharing.count, sharing.limit), (2, None));
    /// # Ok(()) }
    /// ```
    pub async fn inspect(&self) -> Result<Status, Error> {
        self.lock.inspect().await
    }

    fn reader(&self) -> Lock {
        self.lock.in_mode(READ)
    }
}
