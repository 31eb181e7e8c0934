//! Scenes of several steps at once, which single random steps seldom reach.

use std::num::NonZeroU32;

use arbiter_lock_core::{Acquired, Contender, EXPIRY_WATCHERS, Limit, Mode, Tried};
use rand::RngExt;

use super::ask::contender;
use super::walk::Walk;

impl Walk {
    /// Ends all holds and waits.
    pub(super) fn clear(&mut self) {
        self.rig.delete_externally();
        self.rig.lose_queue();
    }

    pub(super) fn one_that_hears(&mut self, mode: Mode) -> Contender {
        self.next_id += 1;
        Contender {
            mode,
            ..contender(&format!("r{}", self.next_id), "c1", 5_000)
        }
    }

    /// Acquires and awaits permits, under a limit that is raised or lowered.
    pub(super) async fn permits(&mut self) {
        self.clear();
        for _ in 0..self.random.random_range(2..5) {
            let weight = NonZeroU32::MIN.saturating_add(self.random.random_range(0..6));
            let limit = Limit::Stated(NonZeroU32::MIN.saturating_add(3));
            let request = self.one_that_hears(Mode::Shared { weight, limit });
            self.acquire_as(request).await;
        }
        if self.random.random_bool(0.5) {
            let limit = Limit::Followed(NonZeroU32::MIN.saturating_add(1));
            let weight = NonZeroU32::MIN;
            let follower = self.one_that_hears(Mode::Shared { weight, limit });
            let index = self.random.random_range(0..self.pool.len());
            self.pool[index] = (follower, None, 0);
            self.acquire_of(index, None).await;
        }
        self.resize().await;
    }

    /// Queues waiters under a limit behind a writer that ends, dead or alive, and a request with
    /// another limit.
    pub(super) async fn orphans(&mut self) {
        self.clear();
        let writer = self.one_that_hears(Mode::Exclusive);
        self.acquire_as(writer).await;
        let of = |limit: u32| Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Stated(NonZeroU32::MIN.saturating_add(limit)),
        };
        let count = [1, 2, 40][self.random.random_range(0..3)];
        for _ in 0..count {
            let limit = self.random.random_range(0..2);
            let orphan = self.one_that_hears(of(limit));
            self.rig.acquire(&orphan, None).await;
        }
        let dies = self.random.random_bool(0.5);
        self.rig.advance(if dies { 2_604_000 } else { 7_000 });
        self.rig.delete_externally();
        let late = self.one_that_hears(of(1));
        let granted = if self.random.random_bool(0.5) {
            let (reply, granted, _) = self.rig.acquire(&late, None).await;
            let refused = matches!(reply, Acquired::Refused(_)) && !granted.is_empty();
            self.seen
                .count("refused after the grant of another", refused);
            let is_in = matches!(reply, Acquired::Granted { .. });
            self.seen
                .count("granted past the limit of dead waiters", is_in && dies);
            granted
        } else {
            let (reply, granted, _) = self.rig.try_acquire(&late).await;
            let refused = matches!(reply, Tried::Refused(_)) && !granted.is_empty();
            self.seen
                .count("refused after the grant of another", refused);
            let is_in = matches!(reply, Tried::Granted { .. });
            self.seen
                .count("granted past the limit of dead waiters", is_in && dies);
            granted
        };
        self.note_grants(&granted);
    }

    /// Queues waiters behind a writer, and ends the writer in one of several ways.
    pub(super) async fn writer(&mut self) {
        self.clear();
        let request = self.one_that_hears(Mode::Exclusive);
        let writer = self.acquire_as(request).await;
        for _ in 0..self.random.random_range(0..4) {
            let mode = self.mode();
            let request = self.one_that_hears(mode);
            self.rig.acquire(&request, None).await;
        }
        if self.random.random_bool(0.3) {
            let fence = self.pool[writer].2;
            self.rig.break_hold(fence, false).await;
            self.renew_as(writer, fence).await;
        }
        match self.random.random_range(0..3) {
            0 => self.write_as(writer).await,
            _ => self.downgrade_of(writer).await,
        }
    }

    /// Queues waiters behind readers with different leases; each waiter awaits the expiry of one.
    pub(super) async fn line_behind_readers(&mut self) {
        self.clear();
        let reader = Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Unlimited,
        };
        for _ in 0..self.random.random_range(2..5) {
            let lease_ms = [500, 900, 2_000, 3_000][self.random.random_range(0..4)];
            let reader = self.one_that_hears(reader);
            let reader = Contender { lease_ms, ..reader };
            self.rig.acquire(&reader, None).await;
            self.rig.advance(7_000);
        }
        for _ in 0..self.random.random_range(5..10) {
            let writer = self.one_that_hears(Mode::Exclusive);
            let (reply, ..) = self.rig.acquire(&writer, None).await;
            if let Acquired::Queued {
                place,
                awaited_expiry_ms: expiry,
                ..
            } = reply
            {
                let later = EXPIRY_WATCHERS < place;
                self.seen
                    .count("expiry of a later hold awaited", later && expiry.is_some());
                self.seen
                    .count("no expiry awaited behind sharers", expiry.is_none());
            }
        }
    }

    /// Adds a fresh request to the pool, granted or waiting.
    pub(super) async fn acquire_as(&mut self, request: Contender) -> usize {
        let (reply, ..) = self.rig.acquire(&request, None).await;
        let fence = match reply {
            Acquired::Granted { fence, .. } => fence,
            _ => 0,
        };
        let index = self.random.random_range(0..self.pool.len());
        self.pool[index] = (request, None, fence);
        index
    }

    /// Queues more dead waiters than one call skips, behind a holder whose lease ends, and the next
    /// request.
    pub(super) async fn crowd(&mut self) {
        if self.random.random_bool(0.8) {
            self.clear();
            let mut holder = self.one_that_hears(Mode::Exclusive);
            holder.lease_ms = 2_000;
            self.acquire_as(holder).await;
        }
        for _ in 0..self.random.random_range(33..70) {
            let request = self.fresh();
            self.rig.acquire(&request, None).await;
        }
        self.rig.advance(2_604_000);
        match self.random.random_range(0..6) {
            0 | 1 => {
                let waiter = self.one_that_hears(Mode::Exclusive);
                self.pool[0] = (waiter, None, 0);
                self.acquire_of(0, None).await;
            }
            2 | 3 => self.try_acquire().await,
            4 => self.end().await,
            _ => {}
        }
    }
}
