//! The hours and days of a time zone.

use std::time::Duration;

use arbiter_lock_core::Moment;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::printable::Printable;

/// The hours or the days of a time zone.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    unit: Unit,
    zone: Result<TimeZone, UnknownZone>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Hour,
    Day,
}

#[derive(Clone, Debug)]
struct UnknownZone(String);

impl Calendar {
    pub(super) fn new(unit: Unit, zone: &str) -> Self {
        let found = TimeZone::get(zone).map_err(|_| UnknownZone(zone.to_owned()));
        Self { unit, zone: found }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        match &self.zone {
            Ok(_) => Ok(()),
            Err(UnknownZone(zone)) => Err(Invalid::new(
                "zone",
                format!(
                    "no time zone is called '{}': names are like Europe/Berlin or UTC",
                    Printable(zone)
                ),
            )
            .into()),
        }
    }

    /// Returns the start of the next hour or day after that moment.
    pub(super) fn next_after(&self, moment: Moment) -> Moment {
        self.next(moment)
            .unwrap_or_else(|| super::period::later(moment, self.longest()))
    }

    /// Returns `None` for a moment outside the calendar's range.
    fn next(&self, moment: Moment) -> Option<Moment> {
        let micros = i64::try_from(moment.as_micros()).ok()?;
        let zone = self.zone.as_ref().ok()?.clone();
        let local = Timestamp::from_microsecond(micros).ok()?.to_zoned(zone);
        let next = match self.unit {
            Unit::Hour => {
                let seconds = i64::from(local.minute()) * 60 + i64::from(local.second());
                let into = SignedDuration::new(seconds, local.subsec_nanosecond());
                let hour = local.timestamp().checked_sub(into).ok()?;
                hour.checked_add(SignedDuration::from_hours(1)).ok()?
            }
            Unit::Day => local.tomorrow().ok()?.start_of_day().ok()?.timestamp(),
        };
        u64::try_from(next.as_microsecond())
            .ok()
            .map(Moment::from_micros)
    }

    /// Returns the longest hour or day: a day on which the clocks go back has 25 h.
    pub(super) fn longest(&self) -> Duration {
        Duration::from_secs(match self.unit {
            Unit::Hour => 3_600,
            Unit::Day => 25 * 3_600,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Calendar, Unit};
    use arbiter_lock_core::Moment;
    use jiff::Timestamp;

    fn next(unit: Unit, zone: &str, at: &str) -> String {
        let at: Timestamp = at.parse().unwrap();
        let at = Moment::from_micros(u64::try_from(at.as_microsecond()).unwrap());
        let next = Calendar::new(unit, zone).next_after(at);
        let next = i64::try_from(next.as_micros()).unwrap();
        Timestamp::from_microsecond(next).unwrap().to_string()
    }

    #[test]
    fn day_ends_at_midnight_of_its_zone() {
        let at = "2026-05-04T21:59:59.999999Z";
        assert_eq!(next(Unit::Day, "Europe/Berlin", at), "2026-05-04T22:00:00Z");
        assert_eq!(next(Unit::Day, "UTC", at), "2026-05-05T00:00:00Z");
        let at = "2026-05-04T22:00:00Z";
        assert_eq!(next(Unit::Day, "Europe/Berlin", at), "2026-05-05T22:00:00Z");
    }

    #[test]
    fn day_with_clock_change_is_one_day() {
        let (short, long) = ("2026-03-28T23:30:00Z", "2026-10-24T22:30:00Z");
        let zone = "Europe/Berlin";
        assert_eq!(next(Unit::Day, zone, short), "2026-03-29T22:00:00Z");
        assert_eq!(next(Unit::Day, zone, long), "2026-10-25T23:00:00Z");
    }

    #[test]
    fn day_without_midnight_begins_after_the_gap() {
        // In Samoa no 30 December 2011 came after the 29th.
        let at = "2011-12-30T08:00:00Z";
        assert_eq!(next(Unit::Day, "Pacific/Apia", at), "2011-12-30T10:00:00Z");
    }

    #[test]
    fn hour_ends_at_full_hour_of_its_zone() {
        let at = "2026-05-04T12:34:56.789Z";
        assert_eq!(next(Unit::Hour, "UTC", at), "2026-05-04T13:00:00Z");
        assert_eq!(next(Unit::Hour, "Asia/Kolkata", at), "2026-05-04T13:30:00Z");
    }

    #[test]
    fn repeated_hour_counts_twice() {
        let (first, second) = ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        let zone = "Europe/Berlin";
        assert_eq!(next(Unit::Hour, zone, first), "2026-10-25T01:00:00Z");
        assert_eq!(next(Unit::Hour, zone, second), "2026-10-25T02:00:00Z");
    }

    #[test]
    fn half_hour_shift_ends_at_next_full_hour() {
        let zone = "Australia/Lord_Howe";
        for (at, end) in [
            ("2026-04-04T14:59:59Z", "2026-04-04T15:00:00Z"), // 01:59:59, then 01:30 again
            ("2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"),
            ("2026-10-03T15:29:59Z", "2026-10-03T15:30:00Z"), // 01:59:59, then 02:30
            ("2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"),
        ] {
            assert_eq!(next(Unit::Hour, zone, at), end, "{at}");
        }
    }

    #[test]
    fn missing_hour_does_not_count() {
        let (before, after) = ("2026-03-29T00:59:59.999999Z", "2026-03-29T01:00:00Z");
        let zone = "Europe/Berlin";
        assert_eq!(next(Unit::Hour, zone, before), after);
        assert_eq!(next(Unit::Hour, zone, after), "2026-03-29T02:00:00Z");
    }

    #[test]
    fn leap_day_is_a_day() {
        let (eve, day) = ("2028-02-28T12:00:00Z", "2028-02-29T00:00:00Z");
        assert_eq!(next(Unit::Day, "UTC", eve), day);
        assert_eq!(next(Unit::Day, "UTC", day), "2028-03-01T00:00:00Z");
    }
}
