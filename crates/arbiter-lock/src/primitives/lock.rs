//! The lock: a resource, and the options of its acquisition.

mod operator;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Lease, Mode, Name, NameError, Request};

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::holds::guard::{Grip, Guard};
use crate::holds::hold::Hold;
use crate::holds::lock_span::LockSpan;
use crate::holds::token::Token;
use crate::primitives::options::{Options, WaitLimit};
use crate::primitives::primitive::Primitive;
use crate::printable::Printable;
use crate::sessions::state::SessionState;
use crate::status::Status;
use crate::store::Envelope;
use crate::store::acknowledgement::Replicas;
use crate::waiting::{self, Origin, transfer};

pub use operator::Asked;

/// A distributed lock on one resource.
///
/// At most one [`Guard`] of a name exists at a time, across all clients of the store. Waiters are
/// granted in order of arrival. A lock is not reentrant, even through the same handle; for nested
/// locking, use a [`Session`](crate::Session).
///
/// A `Lock` is a handle with options. It is cheap to clone, and it does no I/O until it is
/// acquired. Invalid names and options are reported at first use.
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

impl Lock {
    /// The maximum length of a name, in bytes.
    pub const MAX_NAME_BYTES: usize = Name::MAX_BYTES;
    /// The shortest lease.
    pub const SHORTEST_LEASE: Duration = Options::SHORTEST_LEASE;
    /// The longest lease.
    pub const LONGEST_LEASE: Duration = Options::LONGEST_LEASE;

    /// Returns the default of [`Lock::lost_margin`] for that lease.
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

    /// Returns the same lock in another mode.
    pub(crate) fn in_mode(&self, mode: Mode) -> Self {
        Self {
            mode,
            ..self.clone()
        }
    }

    /// Returns the same lock on another resource.
    pub(crate) fn renamed(&self, name: &str) -> Self {
        Self {
            name: Name::new(name),
            ..self.clone()
        }
    }

    /// Returns the same lock as part of another primitive.
    pub(crate) fn of_primitive(self, primitive: Primitive) -> Self {
        self.with(|options| options.primitive = primitive)
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

    /// Sets how long an acquire may wait, at a resolution of 1 ms. With zero it tries once.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// # let client = arbiter_lock::Client::in_memory();
    /// let first = client.lock("report").acquire().await?;
    /// let lock = client.lock("report").wait_timeout(Duration::from_millis(10));
    /// assert!(lock.acquire().await.is_err_and(|error| error.is_contended()));
    /// # Ok(()) }
    /// ```
    pub fn wait_timeout(self, limit: Duration) -> Self {
        self.with_wait_limit(WaitLimit::AtMost(limit))
    }

    /// Removes the wait limit. This is the default.
    ///
    /// A store that does not answer for 30 s ends the wait nevertheless: see
    /// [`ClientBuilder::store_timeout`](crate::ClientBuilder::store_timeout).
    pub fn wait_forever(self) -> Self {
        self.with_wait_limit(WaitLimit::Forever)
    }

    /// Sets the lease: how long a hold lasts without renewal.
    ///
    /// From 100 ms to 365 days, in whole milliseconds; 30 s by default. After a crash of the
    /// holder, the resource is free within one lease.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").lease_time(Duration::from_secs(10)).acquire().await?;
    /// assert!(guard.remaining() <= Duration::from_secs(10));
    /// # Ok(()) }
    /// ```
    pub fn lease_time(self, lease: Duration) -> Self {
        let whole = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.with(|options| options.lease = Duration::from_millis(whole))
    }

    /// Sets whether the client renews the hold in the background. By default it does.
    pub fn watchdog(self, on: bool) -> Self {
        self.with(|options| options.watchdog = on)
    }

    /// Sets how often the hold is renewed: from 1 ms to half the lease, by default a third of it.
    pub fn watchdog_interval(self, interval: Duration) -> Self {
        self.with(|options| options.interval = Some(interval))
    }

    /// Sets how long before its deadline a hold counts as lost.
    ///
    /// From 2 ms to half the lease; by default a fiftieth of the lease and 1 ms. The margin is the
    /// time to stop work. It also covers the time that the server's clock may gain on the local
    /// clock within a lease: with less than the default, a server whose clock runs 2 % fast may
    /// grant another holder before the loss is reported.
    pub fn lost_margin(self, margin: Duration) -> Self {
        self.with(|options| options.margin = Some(margin))
    }

    /// Limits how long the hold may last, including renewals. No limit by default.
    ///
    /// After that time it is lost with [`LostReason::MaxHold`](crate::LostReason::MaxHold). The
    /// limit must be greater than zero.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// use arbiter_lock::LostReason;
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").max_hold(Duration::from_secs(60)).acquire().await?;
    /// assert_eq!(guard.lost().await, LostReason::MaxHold);
    /// # Ok(()) }
    /// ```
    pub fn max_hold(self, limit: Duration) -> Self {
        self.with(|options| options.max_hold = Some(limit))
    }

    /// Sets a note that is shown with the holder or waiter: at most 256 bytes.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").label("build 7").acquire().await?;
    /// let status = client.lock("report").inspect().await?;
    /// println!("held by {}", status.holder.expect("the holder").label);
    /// # Ok(()) }
    /// ```
    pub fn label(self, note: &str) -> Self {
        self.with(|options| options.note = note.to_owned())
    }

    /// Sets how many replicas of the server have to acknowledge a hold before it counts: none by
    /// default. Renewals have to be acknowledged too: one that is not does not extend the hold.
    ///
    /// A hold that all replicas have acknowledged survives a failover to any of them, unless that
    /// one has lost its data. Fewer may not suffice: another replica may be promoted. On a single
    /// server's URL only a number is accepted, since only sentinels and clusters name all replicas.
    ///
    /// If too few acknowledge a grant within a quarter of the command timeout, it is released. An
    /// acquire that may wait tries again within its wait limit, at the end of the queue; otherwise
    /// it fails with [`Error::Unavailable`], which reports how many did. An acquire costs one more
    /// command of the server, on a connection of its own.
    ///
    /// The memory and the embedded store have no replicas: acquiring fails with
    /// [`Error::Invalid`]. A server that denies `WAIT` fails it with [`Error::Refused`].
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::Replicas;
    ///
    /// # fn example(client: &arbiter_lock::Client) {
    /// let one = client.lock("report").replicas(1);
    /// let all = client.lock("payments").replicas(Replicas::All);
    /// # }
    /// ```
    pub fn replicas(self, replicas: impl Into<Replicas>) -> Self {
        let replicas = replicas.into();
        self.with(|options| options.acknowledgement.replicas = replicas)
    }

    /// Sets whether the server has to have a hold on its disk before it counts: off by default.
    ///
    /// With [`Lock::replicas`], these have to have it on their disks too. It needs an append-only
    /// file, and Redis 7.2 or later: `WAITAOF`. With `appendfsync everysec` an acquire takes up to
    /// a second, and at most 2 s. All else is as for [`Lock::replicas`].
    pub fn durable(self, on: bool) -> Self {
        self.with(|options| options.acknowledgement.durable = on)
    }

    /// Returns the name of the resource, or `None` if it is invalid.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().ok().map(Name::as_str)
    }

    /// Acquires the lock, waiting if it is held. Waiters are granted in order of arrival.
    ///
    /// # Errors
    /// - [`Error::Contended`] if the lock was not granted within [`Lock::wait_timeout`]. It carries
    ///   the holder, how long it has held, and the place in the queue.
    /// - [`Error::Unavailable`] if the store did not answer within the wait limit, or, without a
    ///   limit, for 30 s.
    /// - [`Error::Deadlock`], for a lock of a [`Session`](crate::Session) only.
    /// - [`Error::Refused`] if the store refuses the request.
    /// - [`Error::Invalid`] if the name or an option is invalid.
    /// - [`Error::Closed`] if the client was shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped, the request leaves the queue and loses its place. The client
    /// undoes a possible grant in the background: within a second if the store is reachable,
    /// otherwise within one lease. A future that is not polled does not wait: it is skipped.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// use arbiter_lock::Error;
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// match client.lock("report").acquire().await {
    ///     Ok(guard) => guard.release().await?,
    ///     Err(Error::Contended(held)) => println!("place {:?} in the queue", held.place),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "Lock")]
    pub async fn acquire(&self) -> Result<Guard, Error> {
        let (lock, name) = (self.clone(), self.checked_name()?);
        let primitive = self.options.primitive(self.mode);
        let span = LockSpan::begin(&self.inner, &name, primitive);
        let acquired = self.inner.run(|| lock.acquire_owned(name)).await;
        span.enclose(acquired.and_then(|acquired| acquired))
    }

    async fn acquire_owned(self, name: Name) -> Result<Guard, Error> {
        let Self {
            inner,
            mode,
            options,
            session,
            ..
        } = self;
        if let Some(session) = session {
            return Box::pin(session.acquire(inner, name, mode, options)).await;
        }
        let hold = waiting::acquire(inner.clone(), name, mode, options, Origin::default()).await?;
        Ok(Guard::new(Grip::new(inner, hold)))
    }

    /// Acquires the lock if it is free and has no waiters. Returns `None` otherwise.
    ///
    /// It waits for the store for at most 2 s in all, of which connecting takes at most 1.5 s; on the
    /// embedded store for at most 30 s, while other processes take turns at the file. A
    /// longer command timeout does not extend that.
    ///
    /// # Errors
    /// As [`Lock::acquire`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report");
    /// if let Some(guard) = lock.try_acquire().await? {
    ///     assert!(lock.try_acquire().await?.is_none());
    ///     guard.release().await?;
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "TryLock")]
    pub async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        let trying = self.clone().with_wait_limit(WaitLimit::Try);
        none_if_contended(trying.acquire().await)
    }

    /// Acquires the lock, runs `work`, and releases the lock.
    ///
    /// The work is dropped as soon as the hold is lost. If it finishes while the hold is valid, its
    /// result is returned even if the release fails: the release continues in the background.
    ///
    /// # Errors
    /// As [`Lock::acquire`], and [`Error::Lost`] if the hold was lost before the work finished.
    ///
    /// # Cancel safety
    /// If the future is dropped, the work is dropped and the lock is released in the background.
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
        // If this fails, the keeper continues the release.
        let _ = guard.release().await;
        Ok(done)
    }

    /// Adopts a detached hold: it is held by this client from then on, and renewed.
    ///
    /// The hold keeps its fence, and lasts for the lease of this lock. Its waiters keep their
    /// places. The wait limit is how long the store may take to answer. The guard belongs to no
    /// session.
    ///
    /// # Errors
    /// - [`Error::Lost`] with [`LostReason::TokenUsed`](crate::LostReason::TokenUsed) if another
    ///   process has adopted the hold, or it has ended.
    /// - [`Error::Unavailable`] or [`Error::Refused`] if the store did not confirm it. If the store
    ///   may have done it, the hold is released in the background.
    /// - [`Error::Invalid`] if the token is that of another name.
    /// - [`Error::Closed`] if the client was shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped, the hold stays detached, or is released in the background if it
    /// was adopted already.
    pub async fn adopt(&self, token: &Token) -> Result<Guard, Error> {
        let (inner, options) = (self.inner.clone(), self.options.clone());
        let name = self.checked_name()?;
        if name != token.name {
            let other = Printable(token.name());
            let message = format!("the token is that of the lock '{other}', not of this one");
            return Err(Invalid::new("token", message).into());
        }
        let span = LockSpan::begin(&self.inner, &name, options.primitive(token.mode));
        let token = token.clone();
        let adopting = || async move {
            let hold = transfer::adopt(inner.clone(), &token, options).await?;
            Ok(Guard::new(Grip::new(inner, hold)))
        };
        let adopted = self.inner.run(adopting).await;
        span.enclose(adopted.and_then(|adopted| adopted))
    }

    /// Returns the holder and the waiters of the resource.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// The call changes nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report");
    /// assert!(!lock.inspect().await?.is_held());
    /// let guard = lock.acquire().await?;
    /// let holder = lock.inspect().await?.holder.expect("the holder");
    /// assert_eq!(holder.fence, Some(guard.fence()));
    /// # Ok(()) }
    /// ```
    pub async fn inspect(&self) -> Result<Status, Error> {
        let inner = self.inner.clone();
        let name = self.checked_name()?;
        let inspecting = async move {
            let Envelope { reply, at, .. } = inner.send(&name, &Request::Inspect).await?;
            Ok(Status::new(&reply, at))
        };
        self.inner.run(|| inspecting).await?
    }

    pub(crate) fn checked_name(&self) -> Result<Name, Error> {
        let name = self.name.clone();
        let name = name.map_err(|e| Invalid::new("name", e.to_string()))?;
        self.inner.store.key_prefix().check(name.as_str())?;
        Ok(name)
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
