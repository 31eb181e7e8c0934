//! The election: one leader, which says what it is, and those who watch.

mod leader;
mod leadership;
mod observer;

use std::fmt;
use std::time::Duration;

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::holds::hold::Hold;
use crate::primitives::effort::Effort;
use crate::primitives::lock::Lock;
use crate::primitives::options::setters_of_the_lock;
use crate::store::Envelope;
use arbiter_lock_core::Request;

pub use leader::Leader;
pub use leadership::Leadership;
pub use observer::Observer;

/// An election: one leader at a time, in order of candidacy, which proclaims a value that
/// everybody can see. Cheap to clone.
///
/// A leader holds the resource exclusively, as the holder of a [`Lock`](crate::Lock) of that name
/// does, with the same promises. A leader that was lost may still be acting: what it writes is
/// stopped by its [fence](Hold::fence), and [`Election::lead`] drops its work.
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
#[must_use = "an election does nothing until somebody campaigns or looks"]
pub struct Election {
    lock: Lock,
}

impl Election {
    /// The most bytes that a value may have.
    pub const MAX_VALUE_BYTES: usize = 4_096;

    pub(crate) fn new(lock: Lock) -> Self {
        Self { lock }
    }

    setters_of_the_lock!();

    /// Waits in order until it leads, and proclaims the value: when this returns, everybody can
    /// see it.
    ///
    /// # Errors
    /// As [`Lock::acquire`](crate::Lock::acquire), and [`Error::Invalid`] for a value of more than
    /// [`Election::MAX_VALUE_BYTES`]. If the value cannot be proclaimed, the leadership is
    /// resigned in the background and the error is the answer.
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`](crate::Lock::acquire). The value may have been seen for a moment.
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

    /// Leads if that is possible at once, and nobody waits for it.
    ///
    /// # Errors
    /// As [`Election::campaign`], but for [`Error::Contended`]: that is `None`.
    ///
    /// # Cancel safety
    /// As [`Election::campaign`].
    pub async fn try_campaign(&self, value: &str) -> Result<Option<Leadership>, Error> {
        let trying = self.clone().wait_timeout(Duration::ZERO);
        none_if_contended(trying.campaign(value).await)
    }

    /// Runs the work while it leads. The work is dropped as soon as the leadership is lost, and
    /// the leadership ends only after the work has. Work that has finished while it led is `Ok`,
    /// even if the resignation then fails: the keeper goes on with it.
    ///
    /// # Errors
    /// As [`Election::campaign`], and [`Error::Lost`] if the leadership was lost before the work
    /// finished.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the keeper resigns.
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
        // The keeper goes on where this fails.
        let _ = leadership.resign().await;
        Ok(done)
    }

    /// Watches who leads.
    ///
    /// It looks every 500 ms, and at the moment when the leader's lease ends. No I/O until it is
    /// asked.
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

    /// Returns who leads, without changing anything; `None` for a vacancy.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn leader(&self) -> Result<Option<Leader>, Error> {
        let inner = self.lock.inner.clone();
        let name = self.lock.checked_name()?;
        let looking = async move {
            let handle = inner.handle();
            let said = handle.send(&name, &Request::Inspect, Duration::MAX).await;
            let Envelope { reply, at, .. } =
                said.map_err(|failure| inner.store_error(&name, failure))?;
            Ok(Leader::of(&reply, at))
        };
        self.lock.inner.run(|| looking).await?
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

fn none_if_contended(result: Result<Leadership, Error>) -> Result<Option<Leadership>, Error> {
    match result {
        Ok(leadership) => Ok(Some(leadership)),
        Err(Error::Contended(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Election {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Election")
            .field("lock", &self.lock)
            .finish()
    }
}
