//! How often a job is due.

use std::time::Duration;

use arbiter_lock_core::{Moment, Run};

#[cfg(feature = "calendar")]
use super::calendar::Calendar;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;

const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// How often a job is due.
#[derive(Clone, Debug)]
pub(super) enum Period {
    /// At points that are this far apart, from the first recorded start on.
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

    /// Returns when the job is due after that run.
    pub(super) fn next_after(&self, last: &Run) -> Moment {
        match self {
            Self::Every(period) => later(last.turn, *period - slack(*period)),
            #[cfg(feature = "calendar")]
            Self::Calendar(calendar) => calendar.next_after(last.started),
        }
    }

    /// Returns the time that a run that starts now serves. It is the latest past point that is a
    /// whole number of periods after the turn of the last run.
    pub(super) fn turn(&self, now: Moment, last: &Run) -> Moment {
        match self {
            Self::Every(period) => {
                let reached = later(now, slack(*period)).as_micros();
                let since = reached.saturating_sub(last.turn.as_micros());
                let step = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
                Moment::from_micros(last.turn.as_micros() + since / step * step)
            }
            #[cfg(feature = "calendar")]
            Self::Calendar(_) => now,
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

/// Returns how much earlier than a point of its schedule a job may start.
fn slack(period: Duration) -> Duration {
    (period / 10).min(MOST_SLACK)
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
