//! The lock: a handle and its options in one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Broken, Lease, Mode, Name, NameError, Refusal, Request};

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::errors::refused::Refused;
use crate::holds::guard::{Grip, Guard};
use crate::holds::hold::Hold;
use crate::primitives::hand_over::hand_over_the_rest;
use crate::primitives::options::{Options, WaitLimit};
use crate::sessions::state::SessionState;
use crate::status::Status;
use crate::store::Envelope;
use crate::waiting::{self, Origin};

/// A lock on one resource. Cheap to clone; each acquisition excludes every other, those of
/// the same handle too. Re-entry is asked for, by a [`Session`](crate::Session).
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let lock = client.lock("report").wait_timeout(Duration::from_secs(5));
///
/// let guard = lock.acquire().await?;
/// assert!(lock.try_acquire().await?.is_none());
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    pub(crate) inner: Arc<Engine>,
    name: Result<Name, NameError>,
    mode: Mode,
    pub(crate) options: Arc<Options>,
    session: Option<Arc<SessionState>>,
}

/// What came of [`Lock::ask_to_stop`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// The holder will be told at its next renewal, and its hold is prolonged no more: it ends
    /// when the holder releases, or after this time; `None` where somebody made it immortal.
    Told {
        /// How long the hold lasts yet, at the most.
        remaining: Option<Duration>,
    },
    /// No hold has that fence.
    NotHeld,
}

impl Lock {
    /// The most bytes that a name may have.
    pub const MAX_NAME_BYTES: usize = Name::MAX_BYTES;
    /// The shortest lease.
    pub const SHORTEST_LEASE: Duration = Options::SHORTEST_LEASE;
    /// The longest lease.
    pub const LONGEST_LEASE: Duration = Options::LONGEST_LEASE;

    /// Returns how long before its deadline a hold of that lease is given up by default: see
    /// [`Lock::lost_margin`].
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let margin = arbiter_lock::Lock::default_lost_margin(Duration::from_secs(30));
    /// assert_eq!(margin, Duration::from_millis(601));
    /// ```
    #[must_use]
    pub fn default_lost_margin(lease: Duration) -> Duration {
        Lease::default_margin(lease)
    }

    pub(crate) fn new(inner: Arc<Engine>, name: &str) -> Self {
        let options = Arc::new(inner.defaults.clone());
        Self {
            inner,
            name: Name::new(name),
            mode: Mode::Exclusive,
            options,
            session: None,
        }
    }

    pub(crate) fn of_session(inner: Arc<Engine>, name: &str, session: Arc<SessionState>) -> Self {
        Self {
            session: Some(session),
            ..Self::new(inner, name)
        }
    }

    /// The same lock, held in another mode: what the other faces are made of.
    pub(crate) fn in_mode(&self, mode: Mode) -> Self {
        Self {
            mode,
            ..self.clone()
        }
    }

    /// The same lock on another resource.
    pub(crate) fn renamed(&self, name: &str) -> Self {
        Self {
            name: Name::new(name),
            ..self.clone()
        }
    }

    pub(crate) fn wait_limit(&self) -> WaitLimit {
        self.options.wait_limit
    }

    pub(crate) fn with_wait_limit(self, wait_limit: WaitLimit) -> Self {
        self.with(|options| options.wait_limit = wait_limit)
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(Arc::make_mut(&mut self.options));
        self
    }

    /// Waits behind others for that long at the most, at a resolution of a millisecond; with
    /// zero it tries once.
    pub fn wait_timeout(self, limit: Duration) -> Self {
        self.with_wait_limit(WaitLimit::AtMost(limit))
    }

    /// Waits behind others for as long as it takes, the default. A store that is silent for
    /// 30 s ends the wait all the same.
    pub fn wait_forever(self) -> Self {
        self.with_wait_limit(WaitLimit::Forever)
    }

    /// How long the hold lasts without renewal: from 100 ms to 365 days, in whole milliseconds,
    /// 30 s by default.
    pub fn lease_time(self, lease: Duration) -> Self {
        let whole = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.with(|options| options.lease = Duration::from_millis(whole))
    }

    /// Whether the hold is renewed by itself for as long as it is held, as it is by default.
    pub fn watchdog(self, on: bool) -> Self {
        self.with(|options| options.watchdog = on)
    }

    /// How often the hold is renewed: from 1 ms to half the lease, a third of it by default.
    pub fn watchdog_interval(self, interval: Duration) -> Self {
        self.with(|options| options.interval = Some(interval))
    }

    /// How long before its deadline a hold is given up for lost: from 2 ms to half the lease.
    /// By default a fiftieth of the lease and a millisecond. It is the time to stop work, and what
    /// the server's clock may gain on the local one within a lease: with less than the default a
    /// server whose clock runs 2 % fast may grant another before the hold is given up.
    pub fn lost_margin(self, margin: Duration) -> Self {
        self.with(|options| options.margin = Some(margin))
    }

    /// How long the hold may last with all renewals; then it is lost with
    /// [`LostReason::MaxHold`](crate::LostReason::MaxHold). More than zero; no limit by default.
    pub fn max_hold(self, limit: Duration) -> Self {
        self.with(|options| options.max_hold = Some(limit))
    }

    /// A note for people who look at who holds or waits: at most 256 bytes.
    pub fn label(self, note: &str) -> Self {
        self.with(|options| options.note = note.to_owned())
    }

    /// The name of the resource, as it was given and where it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().ok().map(Name::as_str)
    }

    /// Acquires the lock, in order of arrival.
    ///
    /// # Errors
    /// - [`Error::Contended`] after [`Lock::wait_timeout`]: somebody else holds it; it says who,
    ///   since when, and the place in the queue.
    /// - [`Error::Unavailable`] if the store did not answer: within the time to wait, or, without
    ///   such a limit, for 30 s on end.
    /// - [`Error::Deadlock`], for a lock of a [`Session`](crate::Session) only.
    /// - [`Error::Refused`], [`Error::Invalid`], [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Dropped, it leaves the queue: the keeper undoes whatever the store may have done, within a
    /// second where the store is reachable, else at the latest within a lease. The caller loses
    /// its place. A future that is not polled does not wait: it is passed over.
    #[doc(alias = "Lock")]
    pub async fn acquire(&self) -> Result<Guard, Error> {
        let asked = self.asked()?;
        self.inner.run(|| asked.acquire()).await?
    }

    /// Acquires the lock if that is possible at once, and nobody waits for it.
    ///
    /// # Errors
    /// As [`Lock::acquire`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    #[doc(alias = "TryLock")]
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        let trying = self.clone().with_wait_limit(WaitLimit::Try);
        none_if_contended(trying.acquire().await)
    }

    /// What an acquire takes along.
    fn asked(&self) -> Result<Asking, Error> {
        Ok(Asking {
            name: self.checked_name()?,
            inner: self.inner.clone(),
            mode: self.mode,
            options: self.options.clone(),
            session: self.session.clone(),
        })
    }

    /// Runs the work while holding the lock. The work is dropped as soon as the hold is lost.
    /// Work that has finished while it held is `Ok`, even if the release then fails: the
    /// keeper goes on with it.
    ///
    /// # Errors
    /// As [`Lock::acquire`], and [`Error::Lost`] if the hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper releases the lock.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let fence = client.lock("report").run(|hold| async move { hold.fence() }).await?;
    /// assert!(0 < fence);
    /// # Ok(()) }
    /// ```
    pub async fn run<F, W>(&self, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let guard = self.acquire().await?;
        let done = guard.protect(work(guard.hold().clone())).await?;
        // The keeper goes on where this fails.
        let _ = guard.release().await;
        Ok(done)
    }

    /// Returns who holds the resource and who waits, without changing anything.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn inspect(&self) -> Result<Status, Error> {
        let inner = self.inner.clone();
        let name = self.checked_name()?;
        let inspecting = async move {
            let handle = inner.handle();
            let said = handle.send(&name, &Request::Inspect, Duration::MAX).await;
            let Envelope { reply, at, .. } =
                said.map_err(|f| Error::of_store(name.as_str(), &inner.store.to_string(), f))?;
            Ok(Status::new(&reply, at))
        };
        self.inner.run(|| inspecting).await?
    }

    /// For operators: asks the holder with that fence to stop. It is told at its next renewal
    /// ([`LostReason::Revoked`](crate::LostReason::Revoked)), and its hold is prolonged no more.
    /// Nobody else is granted before it has released, or its lease has run out.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// Dropped, the holder may have been asked all the same.
    pub async fn ask_to_stop(&self, fence: u64) -> Result<Asked, Error> {
        Ok(match self.break_hold(fence, false).await? {
            Broken::Asked { remaining_ms } => Asked::Told {
                remaining: remaining_ms.map(Duration::from_millis),
            },
            Broken::Freed | Broken::NotHeld => Asked::NotHeld,
        })
    }

    /// For operators: ends the hold with that fence at once, and hands over. The holder is told
    /// at its next renewal, perhaps after somebody else was granted: whatever it writes until then
    /// only the fence can stop. Whether there was such a hold is answered.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// Dropped, the hold may have been ended all the same.
    pub async fn break_now(&self, fence: u64) -> Result<bool, Error> {
        Ok(self.break_hold(fence, true).await? == Broken::Freed)
    }

    /// The error that a refusal of its mode is.
    pub(crate) fn refused(&self, refusal: Refusal) -> Error {
        let (name, store) = (self.name().unwrap_or_default(), &self.inner.store);
        Refused::new(name, &store.to_string(), self.mode, refusal).into()
    }

    async fn break_hold(&self, fence: u64, at_once: bool) -> Result<Broken, Error> {
        let inner = self.inner.clone();
        let name = self.checked_name()?;
        let breaking = async move {
            let handle = inner.handle();
            let request = Request::Break { fence, at_once };
            let said = handle.send(&name, &request, Duration::MAX).await;
            let Envelope { reply, again, .. } = said.map_err(|f| inner.store_error(&name, f))?;
            if again {
                hand_over_the_rest(&handle, &name).await;
            }
            Ok(reply)
        };
        self.inner.run(|| breaking).await?
    }

    pub(crate) fn checked_name(&self) -> Result<Name, Error> {
        self.name
            .clone()
            .map_err(|e| Invalid::new("name", e.to_string()).into())
    }
}

/// A lock that is about to be acquired.
struct Asking {
    inner: Arc<Engine>,
    name: Name,
    mode: Mode,
    options: Arc<Options>,
    session: Option<Arc<SessionState>>,
}

impl Asking {
    async fn acquire(self) -> Result<Guard, Error> {
        let Self {
            inner,
            name,
            mode,
            options,
            session,
        } = self;
        if let Some(session) = session {
            return Box::pin(session.acquire(inner, name, mode, options)).await;
        }
        let hold = waiting::acquire(inner.clone(), name, mode, options, Origin::default()).await?;
        Ok(Guard::new(Grip::new(inner, hold)))
    }
}

pub(crate) fn none_if_contended<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(held) => Ok(Some(held)),
        Err(Error::Contended(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock")
            .field("name", &self.name())
            .field("options", &self.options)
            .finish()
    }
}
