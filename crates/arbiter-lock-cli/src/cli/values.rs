//! The values of flags.

use std::time::Duration;

use arbiter_lock::{Lock, Replicas};

/// Parses `1500ms`, `30s`, `5m`, `1h`, `7d`. A bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = &text[..text.len() - unit.len()];
    let millis = match unit {
        "ms" => 1.0,
        "" | "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        // The text is not quoted, since it may be a misplaced secret.
        _ => return Err("the units of time are ms, s, m, h and d".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "write it like 1500ms, 30s or 5m".to_owned())?;
    Duration::try_from_secs_f64(number * millis / 1_000.0)
        .map_err(|_| "that is too long".to_owned())
}

/// Parses a number of replicas, or `all`.
pub(super) fn replicas(text: &str) -> Result<Replicas, String> {
    match text {
        "all" => Ok(Replicas::All),
        number => number
            .parse()
            .map(Replicas::AtLeast)
            .map_err(|_| "a number of replicas, or all".to_owned()),
    }
}

/// Parses a lease within the library's range.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    let range = Lock::SHORTEST_LEASE..=Lock::LONGEST_LEASE;
    let lease = duration(text)?;
    if range.contains(&lease) {
        return Ok(lease);
    }
    Err("a lease lasts from 100 ms to 365 days".to_owned())
}

/// Parses a duration that is not zero.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it has to be more than 0".to_owned()),
        time => Ok(time),
    }
}

/// Parses the time between two readings.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_secs(86_400);
    let interval = duration(text)?;
    if range.contains(&interval) {
        return Ok(interval);
    }
    Err("it is from 100ms to 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_default_to_seconds() {
        let read = [
            ("1500ms", 1_500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2", 2_000),
            ("0.5", 500),
            ("0", 0),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ];
        for (text, millis) in read {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1",
            "1 s",
            "1x",
            "1e5",
            "1.2.3",
            "99999999999999999999d",
            "٣",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
