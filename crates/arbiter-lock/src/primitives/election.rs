//! The election: one leader with a public value, and observers.

mod leader;
mod leadership;
mod observer;

use std::fmt;
use std::time::Duration;

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::holds::hold::Hold;
use crate::primitives::effort::Effort;
use crate::primitives::lock::{Lock, none_if_contended};
use crate::primitives::options::setters_of_the_lock;
use crate::primitives::primitive::Primitive;
use crate::store::Envelope;
use arbiter_lock_core::Request;

pub use leader::Leader;
pub use leadership::Leadership;
pub use observer::Observer;

/// A leader election: one leader at a time, which proclaims a value.
///
/// Candidates lead in order of arrival. A leader holds the resource exclusively, as the holder of a
/// [`Lock`](crate::Lock) of that name does, with the same guarantees. A leader that has lost its
/// leadership may still act: have the resource check its [fence](Hold::fence), or use
/// [`Election::lead`], which drops its work.
///
/// An `Election` is a handle with options, and cheap to clone.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let election = client.election("scheduler");
///
/// let leadership = election.campaign("10.0.0.7:8080").await?;
/// let leader = election.leader().await?;
/// assert_eq!(leader.and_then(|leader| leader.value).as_deref(), Some("10.0.0.7:8080"));
///
/// leadership.resign().await?;
/// assert!(election.leader().await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "an election does nothing until it is used"]
pub struct Election {
    lock: Lock,
}

impl Election {
    /// The maximum length of a value, in bytes.
    pub const MAX_VALUE_BYTES: usize = 4_096;

    pub(crate) fn new(lock: Lock) -> Self {
        Self {
            lock: lock.of_primitive(Primitive::Election),
        }
    }

    setters_of_the_lock!();

    /// Waits until it leads, and proclaims the value.
    ///
    /// When this returns, the value is visible to all clients.
    ///
    /// # Errors
    /// As [`Lock::acquire`](crate::Lock::acquire). Also [`Error::Invalid`] for a value of more than
    /// [`Election::MAX_VALUE_BYTES`]. If the value cannot be proclaimed, the leadership is resigned
    /// in the background.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`](crate::Lock::acquire). The value may have been visible for a moment.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let election = client.election("scheduler");
    /// let leadership = election.campaign("10.0.0.7:8080").await?; // waits until it leads
    /// leadership.resign().await?;
    /// # Ok(()) }
    /// ```
    pub async fn campaign(&self, value: &str) -> Result<Leadership, Error> {
        let value = checked_value(value)?.to_owned();
        let lock = self.lock.clone();
        let campaigning = async move {
            let effort = Effort::of(&lock);
            let guard = lock.acquire().await?;
            Leadership::begin(guard, lock.inner.clone(), &value, &effort).await
        };
        self.lock.inner.run(|| campaigning).await?
    }

    /// Leads if there is no leader and no other candidate. Returns `None` otherwise.
    ///
    /// # Errors
    /// As [`Election::campaign`], except for [`Error::Contended`].
    ///
    /// # Cancel safety
    /// As [`Election::campaign`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let election = client.election("scheduler");
    /// let leadership = election.try_campaign("one").await?;
    /// assert!(leadership.is_some());
    /// assert!(election.try_campaign("other").await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn try_campaign(&self, value: &str) -> Result<Option<Leadership>, Error> {
        let trying = self.clone().wait_timeout(Duration::ZERO);
        none_if_contended(trying.campaign(value).await)
    }

    /// Waits until it leads, runs `work`, and resigns.
    ///
    /// The work is dropped as soon as the leadership is lost. If it finishes while it leads, its
    /// result is returned even if the resignation fails: that continues in the background.
    ///
    /// # Errors
    /// As [`Election::campaign`], and [`Error::Lost`] if the leadership was lost before the work
    /// finished.
    ///
    /// # Cancel safety
    /// If the future is dropped, the work is dropped and the leadership is resigned in the
    /// background.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let election = arbiter_lock::Client::in_memory().election("scheduler");
    /// let fence = election.lead("node-1", |hold| async move { hold.fence() }).await?;
    /// assert!(0 < fence);
    /// # Ok(()) }
    /// ```
    pub async fn lead<F, W>(&self, value: &str, work: F) -> Result<W::Output, Error>
    where
        F: FnOnce(Hold) -> W,
        W: Future,
    {
        let leadership = self.campaign(value).await?;
        let hold = leadership.hold();
        let done = hold.protect(work(hold.clone())).await?;
        // If this fails, the keeper continues the resignation.
        let _ = leadership.resign().await;
        Ok(done)
    }

    /// Returns an observer of the leader.
    ///
    /// It polls every 500 ms, and when the leader's lease ends. It does no I/O until
    /// [`Observer::next`] is called.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let election = arbiter_lock::Client::in_memory().election("scheduler");
    /// let mut observer = election.observe();
    /// assert!(observer.next().await?.is_none(), "a vacancy");
    ///
    /// let _leadership = election.campaign("node-1").await?;
    /// let leader = observer.next().await?.expect("a leader");
    /// assert_eq!(leader.value.as_deref(), Some("node-1"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn observe(&self) -> Observer {
        Observer::new(self.lock.clone())
    }

    /// Returns the leader, or `None` if there is none.
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
    /// let election = client.election("scheduler");
    /// let leadership = election.campaign("10.0.0.7:8080").await?;
    /// let leader = election.leader().await?.expect("a leader");
    /// assert_eq!(leader.value.as_deref(), Some("10.0.0.7:8080"));
    /// # Ok(()) }
    /// ```
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        let inner = self.lock.inner.clone();
        let name = self.lock.checked_name()?;
        let inspecting = async move {
            let Envelope { reply, at, .. } = inner.send(&name, &Request::Inspect).await?;
            Ok(Leader::of(&reply, at))
        };
        self.lock.inner.run(|| inspecting).await?
    }
}

fn checked_value(value: &str) -> Result<&str, Error> {
    if Election::MAX_VALUE_BYTES < value.len() {
        return Err(Invalid::new(
            "value",
            format!(
                "a leader's value has at most {} bytes, and this one has {}",
                Election::MAX_VALUE_BYTES,
                value.len()
            ),
        )
        .into());
    }
    Ok(value)
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("lock", &self.lock)
            .finish()
    }
}
