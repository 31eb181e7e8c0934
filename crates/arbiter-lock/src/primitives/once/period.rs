//! How often a job is due.

use std::time::Duration;

use arbiter_lock_core::Moment;

#[cfg(feature = "calendar")]
use super::calendar::Calendar;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;

const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// How often a job is due, counted from the start of its last run.
#[derive(Clone, Debug)]
pub(super) enum Period {
    Every(Duration),
    #[cfg(feature = "calendar")]
    Calendar(Calendar),
}

/// The most by which a job may start early, since calls at fixed times are not exact.
const MOST_SLACK: Duration = Duration::from_secs(60);

impl Period {
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Every(period) => check_duration("every", *period),
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.check(),
        }
    }

    /// Returns when a job that started then is due again.
    pub(super) fn next_after(&self, started: Moment) -> Moment {
        match self {
            Self::Every(period) => {
                let slack = (*period / 10).min(MOST_SLACK);
                later(started, *period - slack)
            }
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.next_after(started),
        }
    }

    /// Returns the longest period.
    pub(super) fn longest(&self) -> Duration {
        match self {
            Self::Every(period) => *period,
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.longest(),
        }
    }
}

pub(super) fn later(moment: Moment, by: Duration) -> Moment {
    let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Moment::from_micros(moment.as_micros().saturating_add(by))
}

pub(super) fn check_duration(what: &'static str, duration: Duration) -> Result<(), Error> {
    if duration < Duration::from_millis(1) || LONGEST < duration {
        return Err(Invalid::new(
            what,
            format!("{what} takes from 1 ms to 365 days, and this is {duration:?}"),
        )
        .into());
    }
    Ok(())
}
