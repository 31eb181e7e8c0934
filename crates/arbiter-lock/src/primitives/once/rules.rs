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
    /// Whether the job is due in any case.
    pub(super) is_forced: bool,
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
/// How far apart the clocks of the servers of one store may be. A run further in the future is
/// ignored.
const MOST_SKEW: Duration = Duration::from_secs(60);

impl Rules {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.period.is_none() && self.pause.is_none() {
            return Err(Invalid::new(
                "every",
                "the job has no rule for its next run: give it a period, as by every()",
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
        let last = self.credible(now, last).filter(|run| self.counts(run));
        let Some(last) = last.filter(|_| !self.is_forced) else {
            return Verdict::Due;
        };
        let ended = last.ended.as_ref().map_or(last.started, |(at, _)| *at);
        let by_period = self.period.as_ref().map(|p| p.next_after(last));
        let by_pause = self.pause.map(|pause| later(ended, pause));
        let next = by_period.max(by_pause).unwrap_or(now);
        if next <= now {
            return Verdict::Due;
        }
        let next = Duration::from_micros(next.as_micros() - now.as_micros());
        Verdict::NotDue { last, next }
    }

    /// Returns the time that a run that starts now serves.
    pub(super) fn turn(&self, now: Moment, last: Option<&Run>) -> Moment {
        match (&self.period, self.credible(now, last)) {
            (Some(period), Some(last)) => period.turn(now, last),
            _ => now,
        }
    }

    /// Returns the run, unless it is in the future: then the clock was ahead when it was recorded.
    fn credible<'a>(&self, now: Moment, last: Option<&'a Run>) -> Option<&'a Run> {
        let latest = later(now, self.longest().min(MOST_SKEW));
        last.filter(|run| {
            let ended = run.ended.as_ref().map_or(run.started, |(at, _)| *at);
            run.started.max(ended) <= latest
        })
    }

    fn counts(&self, run: &Run) -> bool {
        let ended = run.ended.as_ref();
        !self.repeat_failed || ended.is_some_and(|(_, outcome)| Ending::of(outcome).is_well())
    }

    /// Returns how long a run matters after its end, in milliseconds: two periods.
    pub(super) fn memory_ms(&self) -> u64 {
        let memory = (self.longest() * 2).max(SHORTEST_MEMORY);
        u64::try_from(memory.as_millis()).unwrap_or(u64::MAX)
    }

    fn longest(&self) -> Duration {
        let period = self.period.as_ref().map(Period::longest);
        period.max(self.pause).unwrap_or_default()
    }
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
            turn: at(started),
            ended: ended.map(|(second, outcome)| (at(second), outcome.into())),
            memory_ms: 0,
            until: u64::MAX,
        }
    }

    /// Returns the run with another turn.
    fn serving(turn: u64, run: Run) -> Run {
        Run {
            turn: at(turn),
            ..run
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
    fn period_counts_from_its_turn_less_a_tenth() {
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
    fn run_in_the_future_counts_as_not_run() {
        let pause = Some(Duration::from_secs(100));
        let rules = Rules {
            pause,
            ..every(100)
        };
        for (started, ended) in [(60, None), (60, Some(60)), (0, Some(60))] {
            let last = run(started, ended.map(|second| (second, "ok")));
            assert_ne!(next(&rules, 0, &last), 0, "{last:?}");
        }
        for (started, ended) in [(61, None), (61, Some(61)), (0, Some(61))] {
            let last = run(started, ended.map(|second| (second, "ok")));
            assert_eq!(next(&rules, 0, &last), 0, "{last:?}");
            assert_eq!(rules.turn(at(0), Some(&last)), at(0), "{last:?}");
        }
        // A short period allows for less.
        assert_ne!(next(&every(10), 0, &run(10, None)), 0);
        assert_eq!(next(&every(10), 0, &run(11, None)), 0);
    }

    #[test]
    fn late_start_costs_no_turn() {
        let rules = every(100);
        assert_eq!(
            rules.turn(at(7), None),
            at(7),
            "the first run is the first point"
        );
        let mut last = run(0, Some((1, "ok")));
        for (now, turn) in [
            (95, 100),
            (250, 200),
            (289, 200),
            (290, 300),
            (1_050, 1_000),
        ] {
            let served = rules.turn(at(now), Some(&last));
            assert_eq!(served, at(turn), "{now}");
            last = serving(turn, run(now, Some((now, "ok"))));
            assert_eq!(next(&rules, turn + 89, &last), 1, "{now}");
            assert_eq!(next(&rules, turn + 90, &last), 0, "{now}");
        }
    }

    #[test]
    fn turn_is_served_once() {
        let rules = every(86_400);
        let mut last = run(0, None);
        let mut ran = 0;
        // It is tried every quarter of an hour, a little later each time.
        for attempt in 1..=4 * 24 * 30 {
            let now = attempt * 901;
            if next(&rules, now, &last) == 0 {
                let turn = rules.turn(at(now), Some(&last));
                assert!(last.turn < turn, "{now}");
                last = Run {
                    turn,
                    ..run(now, None)
                };
                ran += 1;
            }
        }
        assert_eq!(ran, 30);
    }

    #[test]
    fn repeated_or_forced_run_keeps_the_schedule() {
        let failed = run(0, Some((5, "failed x")));
        let repeated = Rules {
            repeat_failed: true,
            ..every(100)
        };
        assert_eq!(next(&repeated, 50, &failed), 0);
        assert_eq!(repeated.turn(at(50), Some(&failed)), at(0));
        let forced = Rules {
            is_forced: true,
            ..every(100)
        };
        let last = run(0, Some((5, "ok")));
        assert_eq!(next(&forced, 50, &last), 0);
        assert_eq!(forced.turn(at(50), Some(&last)), at(0));
        let last = serving(0, run(50, Some((55, "ok"))));
        assert_eq!(next(&every(100), 60, &last), 30);
    }

    #[test]
    fn ended_run_is_kept_for_two_periods() {
        assert_eq!(every(1).memory_ms(), 60_000);
        assert_eq!(every(100).memory_ms(), 200_000);
        let rules = Rules {
            pause: Some(Duration::from_secs(300)),
            ..every(100)
        };
        assert_eq!(rules.memory_ms(), 600_000);
    }
}
