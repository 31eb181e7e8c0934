//! Decides whether a job is due, from the store's time, the last run and the rules.

use std::time::Duration;

use arbiter_lock_core::{Moment, Run};

use super::ending::Ending;
use super::period::{Period, check_duration, later};
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;

/// The rules for when a job is due again.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) period: Option<Period>,
    /// The minimum time from the end of a run to the start of the next.
    pub(super) pause: Option<Duration>,
    /// Whether a failed or crashed run is ignored.
    pub(super) repeat_failed: bool,
}

/// Whether a job is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Due,
    NotDue {
        last: &'a Run,
        /// How long until it is due.
        next: Duration,
    },
}

/// The minimum time for which a run is kept.
const SHORTEST_MEMORY: Duration = Duration::from_secs(60);
/// How much longer a run that has not ended is kept.
const LONGEST_RUN: Duration = Duration::from_secs(30 * 86_400);

impl Rules {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.period.is_none() && self.pause.is_none() {
            return Err(Invalid::new(
                "every",
                "nothing says when the job may run again: give it a period, as by every()",
            )
            .into());
        }
        if let Some(pause) = self.pause {
            check_duration("at_least", pause)?;
        }
        self.period.as_ref().map_or(Ok(()), Period::check)
    }

    /// Returns whether the job is due. A run whose end is not recorded counts as ended when it
    /// started; only the lock shows whether it still runs.
    pub(super) fn decide<'a>(&self, now: Moment, last: Option<&'a Run>) -> Verdict<'a> {
        let Some(last) = last.filter(|run| self.counts(run)) else {
            return Verdict::Due;
        };
        let ended = last.ended.as_ref().map_or(last.started, |(at, _)| *at);
        let by_period = self.period.as_ref().map(|p| p.next_after(last.started));
        let by_pause = self.pause.map(|pause| later(ended, pause));
        let next = by_period.max(by_pause).unwrap_or(now);
        // A wait longer than any rule demands means that the clock was stepped.
        if next <= now || later(now, self.memory()) < next {
            return Verdict::Due;
        }
        let next = Duration::from_micros(next.as_micros() - now.as_micros());
        Verdict::NotDue { last, next }
    }

    fn counts(&self, run: &Run) -> bool {
        let ended = run.ended.as_ref();
        !self.repeat_failed || ended.is_some_and(|(_, outcome)| Ending::of(outcome).is_well())
    }

    /// Returns how long the store keeps a run that has not ended.
    pub(super) fn keep_running_ms(&self) -> u64 {
        whole_ms(self.memory() + LONGEST_RUN)
    }

    /// Returns how long the store keeps a run after its end.
    pub(super) fn keep_ended_ms(&self) -> u64 {
        whole_ms(self.memory())
    }

    /// Returns how long a run matters: two periods.
    fn memory(&self) -> Duration {
        let period = self.period.as_ref().map(Period::longest);
        let longest = period.max(self.pause).unwrap_or_default();
        (longest * 2).max(SHORTEST_MEMORY)
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000;

    fn at(second: u64) -> Moment {
        Moment::from_micros((START + second) * 1_000_000)
    }

    fn run(started: u64, ended: Option<(u64, &str)>) -> Run {
        Run {
            fence: 7,
            label: "h 1 p".into(),
            started: at(started),
            ended: ended.map(|(second, outcome)| (at(second), outcome.into())),
            until: u64::MAX,
        }
    }

    fn every(seconds: u64) -> Rules {
        Rules {
            period: Some(Period::Every(Duration::from_secs(seconds))),
            ..Rules::default()
        }
    }

    /// Returns how many seconds are left until the job is due.
    fn next(rules: &Rules, now: u64, last: &Run) -> u64 {
        match rules.decide(at(now), Some(last)) {
            Verdict::Due => 0,
            Verdict::NotDue { next, .. } => next.as_secs(),
        }
    }

    #[test]
    fn job_that_never_ran_is_due() {
        assert_eq!(every(60).decide(at(0), None), Verdict::Due);
    }

    #[test]
    fn period_counts_from_start_less_a_tenth() {
        let last = run(0, Some((50, "ok")));
        assert_eq!(next(&every(100), 89, &last), 1);
        assert_eq!(next(&every(100), 90, &last), 0);
    }

    #[test]
    fn slack_is_at_most_a_minute() {
        let last = run(0, Some((50, "ok")));
        assert_eq!(next(&every(86_400), 86_339, &last), 1);
        assert_eq!(next(&every(86_400), 86_340, &last), 0);
    }

    #[test]
    fn pause_counts_from_end_or_else_from_start() {
        let rules = Rules {
            pause: Some(Duration::from_secs(100)),
            ..Rules::default()
        };
        assert_eq!(next(&rules, 149, &run(0, Some((50, "ok")))), 1);
        assert_eq!(next(&rules, 150, &run(0, Some((50, "ok")))), 0);
        assert_eq!(next(&rules, 99, &run(0, None)), 1);
        assert_eq!(next(&rules, 100, &run(0, None)), 0);
    }

    #[test]
    fn later_of_period_and_pause_counts() {
        let rules = Rules {
            pause: Some(Duration::from_secs(10)),
            ..every(100)
        };
        assert_eq!(next(&rules, 80, &run(0, Some((5, "ok")))), 10);
        assert_eq!(next(&rules, 100, &run(0, Some((95, "ok")))), 5);
    }

    #[test]
    fn failed_or_crashed_run_counts_unless_repeated() {
        let (failed, crashed) = (run(0, Some((5, "failed x"))), run(0, None));
        let repeated = Rules {
            repeat_failed: true,
            ..every(100)
        };
        for last in [failed, crashed] {
            assert_eq!(next(&every(100), 10, &last), 80);
            assert_eq!(next(&repeated, 10, &last), 0);
        }
        assert_eq!(next(&repeated, 10, &run(0, Some((5, "ok done")))), 80);
    }

    #[test]
    fn clock_step_back_makes_nothing_due() {
        let rules = Rules {
            pause: Some(Duration::from_secs(1)),
            ..every(100)
        };
        assert_eq!(next(&rules, 0, &run(50, Some((60, "ok")))), 140);
    }

    #[test]
    fn large_clock_step_back_makes_it_due() {
        let pause = Some(Duration::from_secs(100));
        let rules = Rules {
            pause,
            ..every(100)
        };
        for (started, ended) in [(100, 100), (0, 100)] {
            let last = run(started, Some((ended, "ok")));
            assert_eq!(next(&rules, 0, &last), 200);
            let last = run(started, Some((ended + 1, "ok")));
            assert_eq!(next(&rules, 0, &last), 0);
        }
        assert_eq!(next(&every(100), 0, &run(110, None)), 200);
        assert_eq!(next(&every(100), 0, &run(111, None)), 0);
    }

    #[test]
    fn ended_run_is_kept_for_two_periods() {
        assert_eq!(every(1).keep_ended_ms(), 60_000);
        assert_eq!(every(100).keep_ended_ms(), 200_000);
        let rules = Rules {
            pause: Some(Duration::from_secs(300)),
            ..every(100)
        };
        assert_eq!(rules.keep_ended_ms(), 600_000);
    }

    #[test]
    fn unfinished_run_is_kept_thirty_days_longer() {
        let days = 30 * 86_400_000;
        assert_eq!(every(1).keep_running_ms(), 60_000 + days);
        assert_eq!(every(100).keep_running_ms(), 200_000 + days);
    }
}
