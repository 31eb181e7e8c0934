//! How long a face goes on with a step beside the waiting: until the store answers it, or the
//! patience of the lock is over.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Name, Written};

use crate::client::Inner;
use crate::error::Error;
use crate::hold::Hold;
use crate::lock::Lock;
use crate::lost_reason::LostReason;
use crate::options::Patience;
use crate::store::Failure;

/// A limit for steps that are sent again while the store does not answer. Each is sent at least
/// once, and none for longer than the store may be silent.
pub(crate) struct Effort {
    inner: Arc<Inner>,
    /// When it is over, on the local clock.
    end: Option<Duration>,
}

impl Effort {
    /// As long as the lock may be waited for, from now.
    pub(crate) fn of(lock: &Lock) -> Self {
        let limit = match lock.options.patience {
            Patience::Try => Some(Duration::ZERO),
            Patience::AtMost(limit) => Some(limit),
            Patience::Forever => None,
        };
        let inner = lock.inner.clone();
        let end = limit.map(|limit| inner.clock.now().saturating_add(limit));
        Self { inner, end }
    }

    /// That long, from now.
    pub(crate) fn within(inner: Arc<Inner>, limit: Duration) -> Self {
        let end = Some(inner.clock.now().saturating_add(limit));
        Self { inner, end }
    }

    /// As long as the store may be silent.
    pub(crate) fn patient(inner: Arc<Inner>) -> Self {
        Self { inner, end: None }
    }

    /// The lock, with what is left of its patience.
    pub(crate) fn rest(&self, lock: &Lock) -> Lock {
        match self.end {
            Some(end) => lock
                .clone()
                .wait_timeout(end.saturating_sub(self.inner.clock.now())),
            None => lock.clone(),
        }
    }

    /// Sends the step until the store answers, or will not.
    pub(crate) async fn repeat<T, F>(&self, name: &Name, step: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let clock = &self.inner.clock;
        let latest = clock.now().saturating_add(self.inner.store_timeout);
        let end = self.end.map_or(latest, |end| end.min(latest));
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            let failure = match step().await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let left = end.saturating_sub(clock.now());
            if left.is_zero() || !failure.is_transient() {
                return Err(self.inner.store_error(name, failure));
            }
            tokio::time::sleep(backoff.next(rand::random()).min(left)).await;
        }
    }

    /// Has the store write something for the hold, while that lasts.
    pub(crate) async fn write<F>(&self, hold: &Hold, step: impl Fn() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<Written, Failure>>,
    {
        let writing = self.repeat(&hold.state.name, step);
        match hold.protect(writing).await?? {
            Written::Written => Ok(()),
            Written::NotYours => {
                let reason = hold.state.give_up(LostReason::Deleted);
                Err(Error::lost(hold.name(), reason))
            }
        }
    }
}
