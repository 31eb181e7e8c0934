//! External changes to a resource, by other clients and operators, for tests.

use super::rows::{Hold, Rows, Run};
use super::{Moment, Resource};

impl<R: Rows> Resource<R> {
    /// Deletes the lock, and so every hold.
    pub fn delete_lock(&mut self, now: Moment) {
        self.settle(now);
        if !self.is_free() {
            self.drop_all();
            self.latest_grant_expired();
        }
    }

    /// Deletes the queue, with all its notes.
    pub fn lose_queue(&mut self) {
        self.forget_queue();
    }

    /// Deletes the last fence.
    pub fn lose_last_fence(&mut self) {
        self.root_mut().fence_until = 0;
    }

    /// Deletes the last run.
    pub fn lose_last_run(&mut self) {
        if let Some(run) = self.rows.run() {
            self.rows.put_run(Run { until: 0, ..run });
        }
    }

    fn drop_all(&mut self) {
        self.root_mut().exclusive = None;
        if self.root().sharing.is_some() {
            let all = self.rows.expired(u64::MAX);
            all.iter().for_each(|hold| self.drop_hold(hold));
        }
    }

    /// Makes an external client the holder, for `ttl_ms` or without an end.
    pub fn take_externally(&mut self, now: Moment, owner: &str, ttl_ms: Option<u64>) {
        self.settle(now);
        self.latest_grant_expired();
        self.drop_all();
        let last_milli = ttl_ms.map(|ttl| now.last_milli(ttl));
        self.root_mut().exclusive = Some(Hold::external(owner, last_milli));
    }

    /// Sets the TTL of the lock to `ttl_ms`, or removes it. Shared holds keep their own: the TTL of
    /// the key ends them all when it expires.
    pub fn set_expiry(&mut self, now: Moment, ttl_ms: Option<u64>) {
        self.settle(now);
        let last_milli = ttl_ms.map(|ttl| now.last_milli(ttl));
        if let Some(hold) = &mut self.root_mut().exclusive {
            hold.last_milli = last_milli;
        }
    }
}
