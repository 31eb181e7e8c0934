//! What foreign clients and operators do to a resource behind our back.

use super::rows::{Hold, Rows, Run};
use super::{Moment, Resource};

impl<R: Rows> Resource<R> {
    /// Whoever held has been deleted.
    pub fn vanished(&mut self, now: Moment) {
        self.settle(now);
        if !self.is_free() {
            self.drop_all();
            self.grant_lapsed();
        }
    }

    /// The queue is gone, with all that it remembered.
    pub fn queue_lost(&mut self) {
        self.forget_queue();
    }

    /// The last fence is gone.
    pub fn last_fence_lost(&mut self) {
        self.root_mut().fence_until = 0;
    }

    /// The last run is remembered no more.
    pub fn last_run_lost(&mut self) {
        if let Some(run) = self.rows.run() {
            self.rows.put_run(Run { until: 0, ..run });
        }
    }

    fn drop_all(&mut self) {
        self.root_mut().exclusive = None;
        if self.root().sharing.is_some() {
            let all = self.rows.lapsed(u64::MAX);
            all.iter().for_each(|hold| self.drop_hold(hold));
        }
    }

    /// A foreign client holds, whoever held before, for `life_ms` or without end.
    pub fn seized(&mut self, now: Moment, owner: &str, life_ms: Option<u64>) {
        self.settle(now);
        self.grant_lapsed();
        self.drop_all();
        let last_milli = life_ms.map(|life| now.last_milli(life));
        self.root_mut().exclusive = Some(Hold::foreign(owner, last_milli));
    }

    /// Somebody set the life of what is held to `life_ms`, or to no end. Shared holds keep their
    /// own lives: that of the key counts for them only where it ends, and then they vanish.
    pub fn life_changed(&mut self, now: Moment, life_ms: Option<u64>) {
        self.settle(now);
        let last_milli = life_ms.map(|life| now.last_milli(life));
        if let Some(hold) = &mut self.root_mut().exclusive {
            hold.last_milli = last_milli;
        }
    }
}
