//! The values that a holder writes: its proclaimed value, and its runs, which outlast the hold.

use std::sync::Arc;

use super::answer::Written;
use super::rows::{Rows, Run};
use super::{Moment, Resource};

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

    /// Records that work has begun under the exclusive hold with this owner and this fence, and
    /// remembers it for `keep_ms`. Repeated, it changes nothing.
    pub fn begin_run(&mut self, now: Moment, owner: &str, fence: u64, keep_ms: u64) -> Written {
        self.settle(now);
        let alone = self.root().exclusive.as_ref();
        let found = alone.filter(|hold| &*hold.owner == owner && hold.fence == Some(fence));
        let Some(label) = found.map(|hold| hold.label.clone()) else {
            return Written::NotYours;
        };
        if self.last_run(now).is_none_or(|run| run.fence != fence) {
            self.rows.put_run(Run {
                fence,
                label,
                started: now,
                ended: None,
                until: now.last_milli(keep_ms),
            });
        }
        Written::Written
    }

    /// Records that the work under that fence has ended, and remembers it for `keep_ms` more.
    ///
    /// The hold may have ended, as long as no other run has begun. Repeated, it changes nothing.
    pub fn finish_run(
        &mut self,
        now: Moment,
        fence: u64,
        outcome: &Arc<str>,
        keep_ms: u64,
    ) -> Written {
        let Some(run) = self.last_run(now).filter(|run| run.fence == fence) else {
            return Written::NotYours;
        };
        if run.ended.is_none() {
            self.rows.put_run(Run {
                ended: Some((now, outcome.clone())),
                until: now.last_milli(keep_ms),
                ..run
            });
        }
        Written::Written
    }

    /// Returns the last run, while it is remembered.
    #[must_use]
    pub fn last_run(&self, now: Moment) -> Option<Run> {
        self.rows.run().filter(|run| now.as_millis() <= run.until)
    }
}
