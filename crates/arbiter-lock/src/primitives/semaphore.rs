//! The semaphore: a number of permits, held one or several at a time.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Limit, Mode, Name, Refusal, Request, Resized};

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::holds::guard::Guard;
use crate::holds::hold::Hold;
use crate::primitives::hand_off::finish_hand_off;
use crate::primitives::lock::Lock;
use crate::primitives::options::setters_of_the_lock;
use crate::status::Status;
use crate::store::Envelope;

/// A number of permits that all who use the name share. Cheap to clone.
///
/// The first to hold sets the limit, and until nobody holds or waits, whoever states another is
/// refused with both numbers. [`Semaphore::resize`] changes it meanwhile, and
/// [`Semaphore::follow_limit`] makes a handle that takes the one in force.
///
/// A request that waits at the head is not overtaken by smaller ones. Each guard has a lease of
/// its own, and gives back all its permits at once: by its release, its drop, or at the latest the
/// end of its lease. A [`Lock`] of the same name excludes all of them.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let licenses = client.semaphore("licenses", 3);
///
/// let two = licenses.acquire_many(2).await?;
/// let one = licenses.acquire().await?;
/// assert!(licenses.try_acquire().await?.is_none());
/// two.release().await?;
/// assert!(licenses.try_acquire_many(2).await?.is_some());
/// one.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a semaphore does nothing until it is acquired"]
pub struct Semaphore {
    lock: Lock,
    permits: u32,
    follows: bool,
}

impl Semaphore {
    pub(crate) fn new(lock: Lock, permits: u32) -> Self {
        Self {
            lock,
            permits,
            follows: false,
        }
    }

    setters_of_the_lock!();

    /// Takes the limit in force, whatever it is, and the handle's own number only where there is
    /// none.
    pub fn follow_limit(mut self) -> Self {
        self.follows = true;
        self
    }

    /// The name of the resource, as it was given and where it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.lock.name()
    }

    /// The handle's own number of permits.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Acquires one permit, in order of arrival.
    ///
    /// # Errors
    /// As [`Lock::acquire`]. [`Error::Refused`] too where another limit is in force, also while
    /// waiting, after a [`Semaphore::resize`] ([`RefusedKind::LimitDiffers`]), and where the
    /// resource is shared by readers, who have none.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// [`RefusedKind::LimitDiffers`]: crate::RefusedKind::LimitDiffers
    pub async fn acquire(&self) -> Result<Guard, Error> {
        self.acquire_many(1).await
    }

    /// Acquires that many permits at once, in order of arrival, under one guard.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`]; [`Error::Invalid`] for none. For more than the limit
    /// [`Error::Refused`] ([`RefusedKind::AboveLimit`]), before anything is sent where the handle
    /// states its own.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// [`RefusedKind::AboveLimit`]: crate::RefusedKind::AboveLimit
    pub async fn acquire_many(&self, permits: u32) -> Result<Guard, Error> {
        self.weighing(permits)?.acquire().await
    }

    /// Acquires one permit if that is possible at once, and nobody waits for any.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        self.try_acquire_many(1).await
    }

    /// Acquires that many permits if that is possible at once, and nobody waits for any.
    ///
    /// # Errors
    /// As [`Semaphore::acquire_many`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<Guard>, Error> {
        self.weighing(permits)?.try_acquire().await
    }

    /// Runs the work while holding one permit: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire`], and [`Error::Lost`] if the permit was lost before the work
    /// finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper releases the permit.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let licenses = arbiter_lock::Client::in_memory().semaphore("licenses", 3);
    /// let is_held = licenses.run(|hold| async move { hold.is_held() }).await?;
    /// assert!(is_held);
    /// # Ok(()) }
    /// ```
    pub async fn run<F, W>(&self, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        self.run_many(1, work).await
    }

    /// Runs the work while holding that many permits: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire_many`], and [`Error::Lost`] if the permits were lost before the work
    /// finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper releases the permits.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let licenses = arbiter_lock::Client::in_memory().semaphore("licenses", 3);
    /// let others = licenses.run_many(3, |_| licenses.try_acquire()).await??;
    /// assert!(others.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn run_many<F, W>(&self, permits: u32, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        self.weighing(permits)?.run(work).await
    }

    /// Sets another limit while permits are held, and answers what it was; `None` where nobody
    /// holds any under a limit: then nothing has changed, and the next to come sets its own.
    ///
    /// Who waits is granted what the new limit allows. Where more is held than it allows, nobody
    /// is granted before enough has been given back. Handles that state the old limit are refused
    /// from now on, those who wait with it at their next look; those that
    /// [follow](Semaphore::follow_limit) are not, unless they ask for more than there is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero; [`Error::Unavailable`], [`Error::Refused`].
    ///
    /// # Cancel safety
    /// Dropped, the limit may have been set all the same.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let workers = client.semaphore("workers", 1).follow_limit();
    /// assert_eq!(workers.resize(2).await?, None); // nobody holds
    ///
    /// let one = workers.acquire().await?;
    /// assert_eq!(workers.resize(2).await?, Some(1));
    /// let other = workers.acquire().await?;
    /// # Ok(()) }
    /// ```
    pub async fn resize(&self, permits: u32) -> Result<Option<u32>, Error> {
        let (inner, name) = (&self.lock.inner, self.lock.checked_name()?);
        let resizing = resize(inner.clone(), name, at_least_one(permits)?);
        inner.run(|| resizing).await?
    }

    /// Returns who holds permits and who waits for some: as [`Lock::inspect`].
    ///
    /// # Errors
    /// As [`Lock::inspect`].
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn inspect(&self) -> Result<Status, Error> {
        self.lock.inspect().await
    }

    /// The lock that asks for that many permits.
    fn weighing(&self, weight: u32) -> Result<Lock, Error> {
        self.lock.checked_name()?;
        let permits = at_least_one(self.permits)?;
        let weight = at_least_one(weight)?;
        let limit = if self.follows {
            Limit::Followed(permits)
        } else {
            Limit::Stated(permits)
        };
        let lock = self.lock.in_mode(Mode::Shared { weight, limit });
        if permits < weight && !self.follows {
            let limit = permits.get();
            return Err(lock.refused(Refusal::AboveLimit { limit }));
        }
        Ok(lock)
    }
}

async fn resize(inner: Arc<Engine>, name: Name, permits: NonZeroU32) -> Result<Option<u32>, Error> {
    let handle = inner.handle();
    let failed = |failure| Error::of_store(name.as_str(), &inner.store.to_string(), failure);
    let request = Request::Resize(permits);
    let said = handle.send(&name, &request, Duration::MAX).await;
    let Envelope { reply, again, .. } = said.map_err(failed)?;
    if again {
        // To say the limit again could undo what somebody else has set since.
        finish_hand_off(&handle, &name).await;
    }
    match reply {
        Resized::Resized { before } => Ok(Some(before.get())),
        Resized::NotHeld => Ok(None),
    }
}

fn at_least_one(permits: u32) -> Result<NonZeroU32, Error> {
    let none = || Invalid::new("permits", "permits are counted from 1, and these are 0").into();
    NonZeroU32::new(permits).ok_or_else(none)
}
