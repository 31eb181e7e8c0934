//! The observer of an election: reports the leader at first and after each change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Request, Status};

use super::Leader;
use crate::errors::error::Error;
use crate::events::outage::Outage;
use crate::primitives::lock::Lock;
use crate::store::{Envelope, Failure};
use crate::system::rng;

/// The longest time between two polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Observes the leader of an election: see [`Election::observe`](crate::Election::observe).
pub struct Observer {
    lock: Lock,
    /// The leader that was returned last.
    shown: Option<Option<Snapshot>>,
    /// When the next poll is due, on the local clock.
    due: Duration,
    /// The series of polls without an answer.
    outage: Outage,
    backoff: Backoff,
}

/// The parts of a leader whose change is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    owner: Arc<str>,
    fence: Option<u64>,
    value: Option<Arc<str>>,
}

impl Observer {
    pub(super) fn new(lock: Lock) -> Self {
        Self {
            lock,
            shown: None,
            due: Duration::ZERO,
            outage: Outage::default(),
            backoff: Backoff::new(Duration::from_millis(10), POLL_INTERVAL),
        }
    }

    /// Returns the leader, or `None` if there is none, once it has changed.
    ///
    /// The first call returns at once. A later one waits until the leader or its value has changed.
    /// A leader that came and went between two polls is not reported.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store has not answered for 30 s, [`Error::Refused`],
    /// [`Error::Invalid`], [`Error::Closed`]. It may be called again after an error, and keeps the
    /// pace of its polls.
    ///
    /// # Cancel safety
    /// If the future is dropped, no change is missed: the next call returns it.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let election = client.election("scheduler");
    /// let mut observer = election.observe();
    /// assert!(observer.next().await?.is_none()); // at once: there is no leader
    /// let leadership = election.campaign("one").await?;
    /// let leader = observer.next().await?.expect("a leader");
    /// assert_eq!(leader.value.as_deref(), Some("one"));
    /// # Ok(()) }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Leader>, Error> {
        loop {
            self.pause().await?;
            match self.poll().await? {
                Ok(envelope) => {
                    if let Some(leader) = self.update(&envelope) {
                        return Ok(leader);
                    }
                }
                Err(failure) => self.failed(failure)?,
            }
        }
    }

    /// Waits until the next poll is due.
    async fn pause(&self) -> Result<(), Error> {
        let inner = self.lock.inner.clone();
        inner.check_open()?;
        let due = self.due;
        let pausing = async move {
            let left = due.saturating_sub(inner.clock.now());
            tokio::select! {
                biased;
                () = inner.closing() => Err(Error::Closed),
                () = tokio::time::sleep(left) => Ok(()),
            }
        };
        self.lock.inner.run(|| pausing).await?
    }

    async fn poll(&self) -> Result<Result<Envelope<Status>, Failure>, Error> {
        let inner = self.lock.inner.clone();
        let name = self.lock.checked_name()?;
        let polling = async move {
            let handle = inner.handle();
            handle.send(&name, &Request::Inspect, Duration::MAX).await
        };
        self.lock.inner.run(|| polling).await
    }

    /// Schedules the next poll. Returns the leader if it has changed.
    fn update(&mut self, envelope: &Envelope<Status>) -> Option<Option<Leader>> {
        let Envelope { reply, at, .. } = envelope;
        let jitter = 0.75 + 0.25 * rng::draw::<f64>();
        let expiry = reply.holder.as_ref().and_then(|view| view.remaining_ms);
        // A TTL lasts to the end of its last millisecond.
        let expiry = expiry.map_or(POLL_INTERVAL, |ms| {
            Duration::from_millis(ms.saturating_add(1))
        });
        self.due = self.lock.inner.clock.now() + POLL_INTERVAL.mul_f64(jitter).min(expiry);
        self.outage.answered();
        self.backoff.reset();

        let leader = Leader::of(reply, *at);
        let snapshot = reply.holder.as_ref().filter(|_| leader.is_some());
        let snapshot = snapshot.map(|view| Snapshot {
            owner: view.owner.clone(),
            fence: view.fence,
            value: reply.value.clone(),
        });
        let is_news = self.shown.as_ref() != Some(&snapshot);
        self.shown = Some(snapshot);
        is_news.then_some(leader)
    }

    /// Schedules the next poll after a failure. Returns an error if the failure is not transient,
    /// or has lasted too long.
    fn failed(&mut self, failure: Failure) -> Result<(), Error> {
        let inner = &self.lock.inner;
        let now = inner.clock.now();
        self.outage.failed(now, now, &failure);
        self.due = now + self.backoff.next(rng::draw());
        if !failure.is_transient() || inner.store_timeout <= self.outage.length(now) {
            self.outage.answered();
            return Err(inner.store_error(&self.lock.checked_name()?, failure));
        }
        Ok(())
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("name", &self.lock.name())
            .finish_non_exhaustive()
    }
}
