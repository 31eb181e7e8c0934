//! How often a job is due.

use std::time::Duration;

use arbiter_lock_core::Moment;

#[cfg(feature = "calendar")]
use super::calendar::Calendar;
use crate::error::Error;

/// How often a job is due, counted from the start of its last run.
#[derive(Clone, Debug)]
pub(super) enum Period {
    Every(Duration),
    #[cfg(feature = "calendar")]
    Calendar(Calendar),
}

/// The most by which a job may come early: whoever calls it at fixed times is not exact.
const MOST_SLACK: Duration = Duration::from_secs(60);

impl Period {
    pub(super) fn check(&self) -> Result<(), Error> {
        match self {
            Self::Every(period) => super::rules::check_duration("every", *period),
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.check(),
        }
    }

    /// When the job is due again that was started then.
    pub(super) fn next_after(&self, started: Moment) -> Moment {
        match self {
            Self::Every(period) => {
                let slack = (*period / 10).min(MOST_SLACK);
                super::rules::later(started, *period - slack)
            }
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.next_after(started),
        }
    }

    /// How long it is at the most.
    pub(super) fn longest(&self) -> Duration {
        match self {
            Self::Every(period) => *period,
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.longest(),
        }
    }
}
