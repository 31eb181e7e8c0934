//! What foreign clients and operators do to a resource behind our back.

use super::holds::{Hold, Holds};
use super::{LastFence, Moment, Queue, Resource};

impl Resource {
    /// A foreign client holds, whoever held before, for `life_ms` or without end.
    pub fn seized(&mut self, now: Moment, owner: &str, life_ms: Option<u64>) {
        self.settle(now);
        self.queue.grant_lapsed();
        let last_milli = life_ms.map(|life| now.last_milli(life));
        self.holds = Holds::Exclusive(Hold::foreign(owner, last_milli));
    }

    /// Whoever held has been deleted.
    pub fn vanished(&mut self, now: Moment) {
        self.settle(now);
        if !self.holds.is_free() {
            self.holds = Holds::Free;
            self.queue.grant_lapsed();
        }
    }

    /// Somebody set the life of what is held to `life_ms`, or to no end.
    pub fn life_changed(&mut self, now: Moment, life_ms: Option<u64>) {
        self.settle(now);
        self.holds
            .set_last_milli(life_ms.map(|life| now.last_milli(life)));
    }

    /// The queue is gone, with all that it remembered.
    pub fn queue_lost(&mut self) {
        self.queue = Queue::default();
    }

    /// The last fence is gone.
    pub fn last_fence_lost(&mut self) {
        self.last_fence = LastFence::default();
    }
}
