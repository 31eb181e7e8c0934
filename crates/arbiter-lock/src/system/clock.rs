//! The local clock, by which leases are measured.
//!
//! It counts suspend, so a computer that slept detects that its leases ran out. Clients of a memory
//! store use the runtime's clock, which tests can pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A monotonic clock. Its times count from a fixed moment.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The time since boot, including suspend.
    Boot,
    /// The tokio runtime's time since that moment.
    Runtime(Instant),
}

impl Clock {
    pub(crate) fn runtime() -> Self {
        Self::Runtime(Instant::now())
    }

    pub(crate) fn now(&self) -> Duration {
        match self {
            Self::Boot => since_boot(),
            Self::Runtime(start) => Instant::now().saturating_duration_since(*start),
        }
    }

    /// Returns whether it is the runtime's clock, which tests can pause.
    pub(crate) fn is_runtime(&self) -> bool {
        matches!(self, Self::Runtime(_))
    }

    /// Returns the longest sleep before the clock has to be read again, since timers do not count
    /// suspend.
    pub(crate) fn longest_sleep(&self) -> Duration {
        match self {
            Self::Boot => Duration::from_secs(1),
            Self::Runtime(_) => Duration::from_secs(86_400),
        }
    }
}

/// Returns the current date, as the time since 1970. It can be set, so it decides no lease.
pub(crate) fn date() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn since_boot() -> Duration {
    read(rustix::time::ClockId::Boottime)
}

// On Apple's systems the monotonic clock is the continuous one.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn since_boot() -> Duration {
    read(rustix::time::ClockId::Monotonic)
}

fn read(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}
