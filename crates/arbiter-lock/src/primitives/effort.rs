//! Sends a request of a primitive until the store answers it, or the wait limit has passed.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Name, Renewed, Request, Written};

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::events::outage::Outage;
use crate::holds::hold::Hold;
use crate::primitives::lock::Lock;
use crate::primitives::options::WaitLimit;
use crate::store::{Envelope, Failure};
use crate::system::rng;

/// A limit for requests that are sent again while the store does not answer.
///
/// Each request is sent at least once, and for no longer than the client's store timeout.
pub(crate) struct Effort {
    inner: Arc<Engine>,
    end: End,
    /// Whether it is part of an acquire, which a shutdown ends.
    is_wait: bool,
}

/// When requests are not sent again.
#[derive(Clone, Copy)]
enum End {
    /// After the first sending of each request, which may take the command timeout.
    FirstSending,
    /// At that local time.
    At(Duration),
    /// After the client's store timeout.
    Silence,
}

/// How late a request may still be sent: only an answer distinguishes contention from an outage.
const LAST_TURN: Duration = Duration::from_millis(20);

/// How long the store may take to answer why a hold has ended.
const WHY_LIMIT: Duration = Duration::from_millis(500);

impl Effort {
    /// Starts the wait limit of the lock.
    pub(crate) fn of(lock: &Lock) -> Self {
        let inner = lock.inner.clone();
        let effort = match lock.options.wait_limit {
            WaitLimit::Try => Self::within(inner, Duration::ZERO),
            WaitLimit::AtMost(limit) => Self::within(inner, limit),
            WaitLimit::Forever => Self::until_silent(inner),
        };
        Self {
            is_wait: true,
            ..effort
        }
    }

    /// Limits the time from now. With zero, each request is sent once.
    pub(crate) fn within(inner: Arc<Engine>, limit: Duration) -> Self {
        let end = match limit {
            Duration::ZERO => End::FirstSending,
            limit => End::At(inner.clock.now().saturating_add(limit)),
        };
        Self::new(inner, end)
    }

    /// Limits the time by the client's store timeout.
    pub(crate) fn until_silent(inner: Arc<Engine>) -> Self {
        Self::new(inner, End::Silence)
    }

    fn new(inner: Arc<Engine>, end: End) -> Self {
        Self {
            inner,
            end,
            is_wait: false,
        }
    }

    /// Returns the lock with the rest of the wait limit.
    pub(crate) fn rest(&self, lock: &Lock) -> Lock {
        match self.end {
            End::FirstSending | End::Silence => lock.clone(),
            End::At(_) => lock.clone().wait_timeout(self.turn()),
        }
    }

    /// Returns how long the next sending may take.
    fn turn(&self) -> Duration {
        match self.end {
            End::FirstSending | End::Silence => Duration::MAX,
            End::At(end) => last_turn(end, self.inner.clock.now()),
        }
    }

    /// Calls `step`, with the time that it may take, until the store answers or the time is over.
    pub(crate) async fn repeat<T, F>(
        &self,
        name: &Name,
        step: impl Fn(Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        if !self.is_wait {
            return self.repeat_on(name, step).await;
        }
        self.inner.check_open()?;
        tokio::select! {
            biased;
            repeated = self.repeat_on(name, step) => repeated,
            () = self.inner.closing() => Err(Error::Closed),
        }
    }

    async fn repeat_on<T, F>(&self, name: &Name, step: impl Fn(Duration) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let clock = &self.inner.clock;
        let latest = clock.now().saturating_add(self.inner.store_timeout);
        let end = match self.end {
            End::FirstSending => Duration::ZERO,
            End::At(end) => end,
            End::Silence => latest,
        };
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let mut outage = Outage::default();
        loop {
            let sent = clock.now();
            let failure = match step(self.turn()).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let now = clock.now();
            let is_news = outage.failed(sent, now, &failure);
            let left = end.saturating_sub(now);
            let cause = outage.failure().unwrap_or(&failure);
            if !failure.is_transient() {
                return Err(self.inner.store_error(name, failure));
            }
            if left.is_zero() {
                return Err(self.inner.store_error(name, cause.clone()));
            }
            if is_news {
                self.inner.report_outage(name, outage.length(now), cause);
            }
            tokio::time::sleep(backoff.next(rng::draw()).min(left)).await;
        }
    }

    /// Sends a write under the hold, while the hold is valid.
    pub(crate) async fn write<F>(
        &self,
        hold: &Hold,
        step: impl Fn(Duration) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<Envelope<Written>, Failure>>,
    {
        let writing = self.repeat(&hold.state.name, step);
        match hold.protect(writing).await??.reply {
            Written::Written => Ok(()),
            Written::NotYours => {
                let (inner, state) = (&self.inner, &hold.state);
                // The answer to a renewal has the reason.
                let renewal = Request::Renew(state.renewal());
                let handle = inner.handle();
                let renewed = handle.send(&state.name, &renewal, WHY_LIMIT).await;
                let reason = renewed.map_or(LostReason::Deleted, |renewed: Envelope<Renewed>| {
                    LostReason::of(renewed.reply)
                });
                Err(state.lost(inner.keeper.lose(state, reason)))
            }
        }
    }
}

/// Returns the time left until `end`, with a grace period of [`LAST_TURN`].
pub(crate) fn last_turn(end: Duration, now: Duration) -> Duration {
    let late = end.saturating_add(LAST_TURN).saturating_sub(now);
    end.saturating_sub(now).max(late.min(LAST_TURN))
}

#[cfg(test)]
mod tests {
    use super::last_turn;
    use std::time::Duration;

    #[test]
    fn last_turn_ends_20_ms_past_the_limit() {
        let ms = Duration::from_millis;
        for (now, turn) in [(0, 100), (80, 20), (99, 20), (100, 20), (110, 10), (120, 0)] {
            assert_eq!(last_turn(ms(100), ms(now)), ms(turn), "at {now} ms");
        }
        assert_eq!(last_turn(ms(100), Duration::MAX), Duration::ZERO);
        assert_eq!(last_turn(Duration::MAX, ms(0)), Duration::MAX);
    }
}
