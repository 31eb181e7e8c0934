//! The values that a holder writes: its proclaimed value, and its runs, which outlast the hold.

use std::sync::Arc;

use super::answer::Written;
use super::rows::{Rows, Run};
use super::{Moment, Resource};

/// How much longer a run is remembered that has not ended: 30 days, in milliseconds.
pub const LONGEST_RUN_MS: u64 = 30 * 86_400_000;

impl<R: Rows> Resource<R> {
    /// Sets the value that the exclusive hold with this owner and this fence proclaims.
    pub fn proclaim(&mut self, now: Moment, owner: &str, fence: u64, value: &str) -> Written {
        self.settle(now);
        let alone = self.root_mut().exclusive.as_mut();
        match alone.filter(|hold| &*hold.owner == owner && hold.fence == Some(fence)) {
            Some(hold) => {
                hold.value = Some(value.into());
                Written::Written
            }
            None => Written::NotYours,
        }
    }

    /// Records that work has begun under the exclusive hold with this owner and this fence.
    ///
    /// The run serves `turn`. It is remembered for [`LONGEST_RUN_MS`], and for `memory_ms` after its
    /// end, or for as long as the run before it, if that is longer. Repeated, it changes nothing.
    pub fn begin_run(
        &mut self,
        now: Moment,
        owner: &str,
        fence: u64,
        turn: Moment,
        memory_ms: u64,
    ) -> Written {
        self.settle(now);
        let alone = self.root().exclusive.as_ref();
        let found = alone.filter(|hold| &*hold.owner == owner && hold.fence == Some(fence));
        let Some(label) = found.map(|hold| hold.label.clone()) else {
            return Written::NotYours;
        };
        let last = self.last_run(now);
        if last.as_ref().is_none_or(|run| run.fence != fence) {
            let memory_ms = memory_ms.max(last.map_or(0, |run| run.memory_ms));
            self.rows.put_run(Run {
                fence,
                label,
                started: self.date(now),
                turn,
                ended: None,
                memory_ms,
                until: now.last_milli(memory_ms.saturating_add(LONGEST_RUN_MS)),
            });
        }
        Written::Written
    }

    /// Records that the work under that fence has ended.
    ///
    /// The hold may have ended, as long as no other run has begun. Repeated, it changes nothing.
    pub fn finish_run(&mut self, now: Moment, fence: u64, outcome: &Arc<str>) -> Written {
        let Some(run) = self.last_run(now).filter(|run| run.fence == fence) else {
            return Written::NotYours;
        };
        if run.ended.is_none() {
            self.rows.put_run(Run {
                ended: Some((self.date(now), outcome.clone())),
                until: now.last_milli(run.memory_ms),
                ..run
            });
        }
        Written::Written
    }

    /// Forgets the run under that fence, even while it continues, unless a later one has begun.
    pub fn forget_run(&mut self, now: Moment, fence: u64) -> Written {
        let Some(run) = self.last_run(now).filter(|run| run.fence == fence) else {
            return Written::NotYours;
        };
        self.rows.put_run(Run { until: 0, ..run });
        Written::Written
    }

    /// Returns the last run, while it is remembered.
    #[must_use]
    pub fn last_run(&self, now: Moment) -> Option<Run> {
        self.rows.run().filter(|run| now.as_millis() <= run.until)
    }
}
