//! The health of a client: whether its store answers, and the client's holds and waiters.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Failure, FailureKind};
use crate::errors::error::Seconds;
use crate::system::clock::Clock;

/// A snapshot of a client's health: see [`Client::health`](crate::Client::health).
///
/// Its `Display` is one line for people.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Whether the store answers.
    pub store: StoreHealth,
    /// The number of holds.
    pub holds: usize,
    /// The number of acquires in progress.
    pub waiters: usize,
    /// The number of releases in the background that the store has not confirmed.
    pub unconfirmed_releases: usize,
    /// The number of renewals that are late, by more than a third of the time that was left.
    pub late_renewals: usize,
    /// Whether the client was shut down.
    pub is_closed: bool,
}

/// Whether a store answers, by the requests of this client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StoreHealth {
    /// No request was sent yet.
    Unused,
    /// The latest request was answered.
    Serving {
        /// How long ago.
        answered: Duration,
    },
    /// Requests fail, and none was answered since the first of them.
    Failing {
        /// How long ago the first of them failed.
        since: Duration,
        /// The store's last answer, or why there was none.
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// This process was forked from the process that made the client.
    Forked,
}

impl Health {
    /// Returns whether the client can serve. The store does not fail, and the client was neither
    /// shut down nor made by the process from which this one was forked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let may_serve = matches!(
            self.store,
            StoreHealth::Unused | StoreHealth::Serving { .. }
        );
        may_serve && !self.is_closed
    }

    /// Returns the health of a client in a forked process.
    pub(crate) fn forked() -> Self {
        Self {
            store: StoreHealth::Forked,
            holds: 0,
            waiters: 0,
            unconfirmed_releases: 0,
            late_renewals: 0,
            is_closed: false,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            holds,
            waiters,
            unconfirmed_releases,
            late_renewals,
            is_closed,
        } = self;
        write!(
            f,
            "{store}; {holds} holds, {waiters} waiters, {unconfirmed_releases} unconfirmed \
             releases, {late_renewals} late renewals"
        )?;
        f.write_str(if *is_closed { "; shut down" } else { "" })
    }
}

impl fmt::Display for StoreHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unused => f.write_str("the store was not used yet"),
            Self::Serving { answered } => {
                write!(f, "the store answered {} ago", Seconds(*answered))
            }
            Self::Failing { since, cause } => {
                write!(
                    f,
                    "the store has failed for {}: it {cause}",
                    Seconds(*since)
                )
            }
            Self::Forked => f.write_str("this process was forked from the one of the client"),
        }
    }
}

/// A limit that is too short for an answer, so that a silence means nothing.
const SHORT: Duration = Duration::from_millis(100);

/// Notes the outcomes of a client's requests. An answer takes no lock.
pub(crate) struct StoreMonitor {
    clock: Clock,
    /// The local time of the last answer in nanoseconds, plus one; zero before the first.
    answered: AtomicU64,
    is_failing: AtomicBool,
    outage: Mutex<Option<(Duration, Failure)>>,
}

impl StoreMonitor {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            answered: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            outage: Mutex::default(),
        }
    }

    /// Notes the outcome of a request that had that limit. Returns it.
    pub(super) fn note<T>(
        &self,
        limit: Duration,
        outcome: Result<T, Failure>,
    ) -> Result<T, Failure> {
        match &outcome {
            Ok(_) => self.note_answer(),
            Err(failure) => self.note_failure(limit, failure),
        }
        outcome
    }

    fn note_answer(&self) {
        let now = u64::try_from(self.clock.now().as_nanos()).unwrap_or(u64::MAX);
        self.answered
            .store(now.saturating_add(1), Ordering::Relaxed);
        if self.is_failing.swap(false, Ordering::Relaxed) {
            *self.outage() = None;
        }
    }

    pub(super) fn note_failure(&self, limit: Duration, failure: &Failure) {
        match failure.kind {
            FailureKind::WrongType | FailureKind::Malformed | FailureKind::Moving => {
                return self.note_answer();
            }
            FailureKind::Forked | FailureKind::WaitTooShort => return,
            FailureKind::Silent if limit < SHORT => return,
            _ => {}
        }
        let now = self.clock.now();
        let mut outage = self.outage();
        let (_, last) = outage.get_or_insert_with(|| (now, failure.clone()));
        if !failure.says_less_than(last) {
            *last = failure.clone();
        }
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// Returns the state by the latest outcome.
    pub(crate) fn health(&self) -> StoreHealth {
        let now = self.clock.now();
        if let Some((since, failure)) = &*self.outage() {
            return StoreHealth::Failing {
                since: now.saturating_sub(*since),
                cause: Arc::new(failure.clone()),
            };
        }
        match self.answered.load(Ordering::Relaxed) {
            0 => StoreHealth::Unused,
            at => StoreHealth::Serving {
                answered: now.saturating_sub(Duration::from_nanos(at - 1)),
            },
        }
    }

    fn outage(&self) -> MutexGuard<'_, Option<(Duration, Failure)>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_key_failures_count_as_answers() {
        let monitor = StoreMonitor::new(Clock::Boot);
        let fail = |kind, limit| {
            let failure = Failure::before_sending(kind, "");
            drop(monitor.note::<()>(limit, Err(failure)));
            monitor.health()
        };
        let long = Duration::MAX;
        let unused = fail(FailureKind::Silent, Duration::from_millis(50));
        assert!(matches!(unused, StoreHealth::Unused));
        let failing = fail(FailureKind::Unreachable, long);
        assert!(matches!(failing, StoreHealth::Failing { .. }));
        for kind in [FailureKind::WrongType, FailureKind::Moving] {
            assert!(matches!(fail(kind, long), StoreHealth::Serving { .. }));
        }
        let failing = fail(FailureKind::Denied, long);
        assert!(failing.to_string().contains("denies access"));
    }
}
