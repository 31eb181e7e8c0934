//! The options of a primitive. They are checked at first use, before anything is sent.

use std::time::Duration;

use arbiter_lock_core::{Lease, Mode, provisional_ttl_ms};

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::primitives::primitive::Primitive;
use crate::store::Acknowledgement;

/// How long an acquire may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitLimit {
    Try,
    AtMost(Duration),
    Forever,
}

/// The options of a lock.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) wait_limit: WaitLimit,
    pub(crate) lease: Duration,
    pub(crate) watchdog: bool,
    pub(crate) interval: Option<Duration>,
    pub(crate) margin: Option<Duration>,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) note: String,
    pub(crate) acknowledgement: Acknowledgement,
    pub(crate) primitive: Primitive,
}

/// A server may end a TTL within its last millisecond.
const SHORTEST_MARGIN: Duration = Duration::from_millis(2);

impl Default for Options {
    fn default() -> Self {
        Self {
            wait_limit: WaitLimit::Forever,
            lease: Duration::from_secs(30),
            watchdog: true,
            interval: None,
            margin: None,
            max_hold: None,
            note: String::new(),
            acknowledgement: Acknowledgement::NONE,
            primitive: Primitive::Lock,
        }
    }
}

impl Options {
    pub(crate) const SHORTEST_LEASE: Duration = Duration::from_millis(100);
    pub(crate) const LONGEST_LEASE: Duration = Duration::from_secs(365 * 86_400);

    /// Returns the primitive of a request in that mode.
    pub(crate) fn primitive(&self, mode: Mode) -> Primitive {
        match (self.primitive, mode) {
            (Primitive::RwWrite, Mode::Shared { .. }) => Primitive::RwRead,
            (primitive, _) => primitive,
        }
    }

    /// Returns the lease in whole milliseconds, as the store counts it.
    pub(crate) fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns how long before its deadline a hold with that TTL counts as lost.
    pub(crate) fn margin(&self, ttl: Duration) -> Duration {
        self.margin.unwrap_or_else(|| Lease::default_margin(ttl))
    }

    /// Returns how long after a renewal was sent the next one is due. `None` without the watchdog.
    pub(crate) fn renew_after(&self) -> Option<Duration> {
        self.watchdog
            .then(|| self.interval.unwrap_or(self.lease / 3))
    }

    /// Returns the provisional TTL of a grant to a queued waiter.
    pub(crate) fn provisional_ttl(&self) -> Duration {
        Duration::from_millis(provisional_ttl_ms(self.lease_ms()))
    }

    /// Returns whether the margin takes more than half of the provisional TTL. Then a grant is
    /// claimed before it is returned.
    pub(crate) fn claims_first(&self) -> bool {
        self.provisional_ttl() < self.margin(self.provisional_ttl()) * 2
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self {
            lease,
            interval,
            margin,
            max_hold,
            ..
        } = self;
        if *lease < Self::SHORTEST_LEASE || Self::LONGEST_LEASE < *lease {
            return Err(Invalid::new(
                "lease_time",
                format!("a lease lasts from 100 ms to 365 days, and this one {lease:?}"),
            )
            .into());
        }
        if interval.is_some_and(|d| d < Duration::from_millis(1) || *lease / 2 < d) {
            return Err(Invalid::new(
                "watchdog_interval",
                format!(
                    "the watchdog renews at an interval from 1 ms to half the lease, {:?} here, and this one is {:?}",
                    *lease / 2,
                    interval.unwrap_or_default(),
                ),
            ).into());
        }
        if margin.is_some_and(|d| d < SHORTEST_MARGIN || *lease / 2 < d) {
            return Err(Invalid::new(
                "lost_margin",
                format!(
                    "the margin for a loss lasts from 2 ms to half the lease, {:?} here, and this one {:?}",
                    *lease / 2,
                    margin.unwrap_or_default(),
                ),
            ).into());
        }
        if *max_hold == Some(Duration::ZERO) {
            return Err(Invalid::new(
                "max_hold",
                "a hold lasts longer than no time at all: max_hold is 0",
            )
            .into());
        }
        Ok(())
    }
}

/// The setters of a primitive that has a [`Lock`](crate::Lock) in its field `lock`.
macro_rules! setters_of_the_lock {
    () => {
        /// Sets how long an acquire may wait: as [`Lock::wait_timeout`](crate::Lock::wait_timeout).
        pub fn wait_timeout(mut self, limit: Duration) -> Self {
            self.lock = self.lock.wait_timeout(limit);
            self
        }

        /// Removes the wait limit: as [`Lock::wait_forever`](crate::Lock::wait_forever).
        pub fn wait_forever(mut self) -> Self {
            self.lock = self.lock.wait_forever();
            self
        }

        /// Sets the lease: as [`Lock::lease_time`](crate::Lock::lease_time).
        pub fn lease_time(mut self, lease: Duration) -> Self {
            self.lock = self.lock.lease_time(lease);
            self
        }

        /// Sets whether the client renews a hold: as [`Lock::watchdog`](crate::Lock::watchdog).
        pub fn watchdog(mut self, on: bool) -> Self {
            self.lock = self.lock.watchdog(on);
            self
        }

        /// Sets how often a hold is renewed: as
        /// [`Lock::watchdog_interval`](crate::Lock::watchdog_interval).
        pub fn watchdog_interval(mut self, interval: Duration) -> Self {
            self.lock = self.lock.watchdog_interval(interval);
            self
        }

        /// Sets how long before its deadline a hold counts as lost: as
        /// [`Lock::lost_margin`](crate::Lock::lost_margin).
        pub fn lost_margin(mut self, margin: Duration) -> Self {
            self.lock = self.lock.lost_margin(margin);
            self
        }

        /// Limits how long a hold may last: as [`Lock::max_hold`](crate::Lock::max_hold).
        pub fn max_hold(mut self, limit: Duration) -> Self {
            self.lock = self.lock.max_hold(limit);
            self
        }

        /// Sets how many replicas have to acknowledge a hold: as
        /// [`Lock::replicas`](crate::Lock::replicas).
        pub fn replicas(mut self, replicas: impl Into<crate::Replicas>) -> Self {
            self.lock = self.lock.replicas(replicas);
            self
        }

        /// Sets whether a hold has to be on disk: as [`Lock::durable`](crate::Lock::durable).
        pub fn durable(mut self, on: bool) -> Self {
            self.lock = self.lock.durable(on);
            self
        }

        /// Sets a note for the holder or waiter: as [`Lock::label`](crate::Lock::label).
        pub fn label(mut self, note: &str) -> Self {
            self.lock = self.lock.label(note);
            self
        }
    };
}
pub(crate) use setters_of_the_lock;
