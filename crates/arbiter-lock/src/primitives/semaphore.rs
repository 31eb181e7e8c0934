//! The semaphore: a limited number of permits.

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
use crate::primitives::primitive::Primitive;
use crate::status::Status;
use crate::store::Envelope;

/// A distributed semaphore: a limited number of permits.
///
/// The first holder sets the limit. As long as there are holders or waiters, a request with another
/// limit is refused with both numbers. [`Semaphore::resize`] changes the limit, and a handle made
/// by [`Semaphore::follow_limit`] uses the limit in force.
///
/// Permits are granted in order of arrival: a smaller request does not overtake a larger one before
/// it. Each guard has its own lease, and returns all its permits at once when it is released or
/// dropped, or when its lease ends. A [`Lock`] of the same name excludes all permits.
///
/// A `Semaphore` is a handle with options, and cheap to clone.
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
            lock: lock.of_primitive(Primitive::Semaphore),
            permits,
            follows: false,
        }
    }

    setters_of_the_lock!();

    /// Uses the limit in force. The handle's own number of permits counts only if there is none.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let first = client.semaphore("workers", 4).acquire().await?;
    /// let other = client.semaphore("workers", 1).follow_limit().acquire().await?; // one of four
    /// # Ok(()) }
    /// ```
    pub fn follow_limit(mut self) -> Self {
        self.follows = true;
        self
    }

    /// Returns the name of the resource, or `None` if it is invalid.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.lock.name()
    }

    /// Returns the handle's own number of permits.
    #[must_use]
    pub fn permits(&self) -> u32 {
        self.permits
    }

    /// Acquires one permit, waiting if none is free.
    ///
    /// # Errors
    /// As [`Lock::acquire`]. Also [`Error::Refused`] ([`RefusedKind::LimitDiffers`]) if another
    /// limit is in force, even while waiting, after a [`Semaphore::resize`]; or if readers hold the
    /// resource, which have no limit.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let licenses = client.semaphore("licenses", 3);
    /// let permit = licenses.acquire().await?;
    /// permit.release().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// [`RefusedKind::LimitDiffers`]: crate::RefusedKind::LimitDiffers
    pub async fn acquire(&self) -> Result<Guard, Error> {
        self.acquire_many(1).await
    }

    /// Acquires that many permits at once, under one guard, waiting if too few are free.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`]. Also [`Error::Invalid`] for zero permits, and [`Error::Refused`]
    /// ([`RefusedKind::AboveLimit`]) for more permits than the limit. Unless the handle follows the
    /// limit, this is checked before anything is sent.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let licenses = client.semaphore("licenses", 3);
    /// let two = licenses.acquire_many(2).await?;
    /// assert!(licenses.try_acquire_many(2).await?.is_none());
    /// two.release().await?; // returns both
    /// # Ok(()) }
    /// ```
    ///
    /// [`RefusedKind::AboveLimit`]: crate::RefusedKind::AboveLimit
    pub async fn acquire_many(&self, permits: u32) -> Result<Guard, Error> {
        self.weighing(permits)?.acquire().await
    }

    /// Acquires one permit if one is free and there are no waiters. Returns `None` otherwise.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        self.try_acquire_many(1).await
    }

    /// Acquires that many permits if they are free and there are no waiters. Returns `None`
    /// otherwise.
    ///
    /// # Errors
    /// As [`Semaphore::acquire_many`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<Guard>, Error> {
        self.weighing(permits)?.try_acquire().await
    }

    /// Acquires one permit, runs `work`, and releases the permit: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire`], and [`Error::Lost`] if the permit was lost before the work
    /// finished.
    ///
    /// # Cancel safety
    /// As [`Lock::run`].
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

    /// Acquires that many permits, runs `work`, and releases the permits: as [`Lock::run`].
    ///
    /// # Errors
    /// As [`Semaphore::acquire_many`], and [`Error::Lost`] if the permits were lost before the work
    /// finished.
    ///
    /// # Cancel safety
    /// As [`Lock::run`].
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

    /// Changes the limit while permits are held. Returns the limit before.
    ///
    /// Returns `None` and changes nothing if no permits are held: then the next holder sets the
    /// limit.
    ///
    /// Waiters are granted as far as the new limit allows. If more permits are held than that, no
    /// waiter is granted until enough are returned. Requests with the old limit are refused from
    /// then on; waiters with the old limit are refused at their next poll. Requests that
    /// [follow the limit](Semaphore::follow_limit) are refused only if they exceed it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero permits, [`Error::Unavailable`], [`Error::Refused`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the limit may or may not have been changed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let workers = client.semaphore("workers", 1).follow_limit();
    /// assert_eq!(workers.resize(2).await?, None); // no permits are held
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

    /// Returns the holders and waiters of permits: as [`Lock::inspect`].
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
    /// let licenses = client.semaphore("licenses", 3);
    /// let two = licenses.acquire_many(2).await?;
    /// let sharing = licenses.inspect().await?.sharing.expect("permits");
    /// assert_eq!((sharing.weight, sharing.limit), (2, Some(3)));
    /// # Ok(()) }
    /// ```
    pub async fn inspect(&self) -> Result<Status, Error> {
        self.lock.inspect().await
    }

    /// Returns a lock that acquires that many permits.
    fn weighing(&self, weight: u32) -> Result<Lock, Error> {
        let name = self.lock.checked_name()?;
        let permits = at_least_one(self.permits)?;
        let weight = at_least_one(weight)?;
        let limit = if self.follows {
            Limit::Followed(permits)
        } else {
            Limit::Stated(permits)
        };
        let mode = Mode::Shared { weight, limit };
        if permits < weight && !self.follows {
            let limit = permits.get();
            let refusal = Refusal::AboveLimit { limit };
            return Err(self.lock.inner.refused(&name, mode, refusal));
        }
        Ok(self.lock.in_mode(mode))
    }
}

async fn resize(inner: Arc<Engine>, name: Name, permits: NonZeroU32) -> Result<Option<u32>, Error> {
    let request = Request::Resize(permits);
    let Envelope { reply, again, .. } = inner.send(&name, &request).await?;
    if again {
        // Repeating the resize could undo a later one.
        finish_hand_off(&inner.handle(), &name).await;
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
