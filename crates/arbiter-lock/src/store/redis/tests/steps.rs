//! The steps of a walk, and the kind of transition of each.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Broken, Contender, Downgraded, Ended, Limit, Mode, Moment, Refusal, Renewed, Request,
    Resized, Tried, Written, detached_id,
};
use rand::RngExt;

use super::walk::{Walk, holds, sharers};

impl Walk {
    pub(super) async fn acquire(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let ticket = match self.random.random_range(0..10) {
            0 => Some(self.rig.now().as_micros() - self.random.random_range(0..9_000_000)),
            1 | 2 => None,
            _ => self.pool[index].1,
        };
        self.acquire_of(index, ticket).await;
    }

    pub(super) async fn acquire_of(&mut self, index: usize, ticket: Option<u64>) {
        let request = self.pool[index].0.clone();
        let before = self.rig.inspect().await;
        let was_mine = holds(&before, &request.id);
        let (reply, granted, again) = self.rig.acquire(&request, ticket).await;
        let seen = &mut self.seen;
        seen.count("poll hands off to another", !granted.is_empty());
        seen.count("queued, more to do", again);
        match reply {
            Acquired::Granted { fence, ttl_ms } => {
                seen.count("own grant found", was_mine);
                seen.count(
                    "own shared hold found",
                    was_mine && request.mode != Mode::Exclusive,
                );
                seen.count("beside others", !was_mine && 0 < sharers(&before));
                let in_force = before.sharing.and_then(|sharing| sharing.limit);
                if let Mode::Shared {
                    limit: Limit::Followed(limit),
                    ..
                } = request.mode
                {
                    let follows = in_force.is_some_and(|in_force| in_force != limit.get());
                    seen.count("follows the limit in force", follows);
                }
                seen.count("granted by a poll", !was_mine && ttl_ms < request.lease_ms);
                seen.count("granted at once", !was_mine && ttl_ms == request.lease_ms);
                seen.count(
                    "fence ahead of the clock",
                    self.rig.now().as_micros() < fence,
                );
                self.pool[index].2 = fence;
            }
            Acquired::Queued {
                ticket: given,
                holder,
                ..
            } => {
                seen.count("queued", true);
                seen.count("behind shared holds", 0 < sharers(&before));
                seen.count("place kept", ticket == Some(given));
                seen.count(
                    "granted marker met",
                    ticket.is_some_and(|carried| carried < given),
                );
                seen.count(
                    "behind an external holder",
                    holder.as_ref().is_some_and(|h| h.fence.is_none()),
                );
                seen.count(
                    "behind a holder without an end",
                    holder.is_some_and(|h| h.remaining_ms.is_none()),
                );
                self.pool[index].1 = Some(given);
            }
            Acquired::Ended => seen.count("acquire of an ended request", true),
            Acquired::Refused(refusal) => self.refused(refusal),
        }
        self.note_grants(&granted);
    }

    pub(super) async fn try_acquire(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let request = if self.random.random_bool(0.7) {
            self.fresh()
        } else {
            self.pool[index].0.clone()
        };
        let waiting = self.rig.inspect().await.waiting;
        let (reply, granted, again) = self.rig.try_acquire(&request).await;
        let seen = &mut self.seen;
        seen.count("try hands off", !granted.is_empty());
        match reply {
            Tried::Granted { fence, .. } => {
                seen.count("try granted", true);
                seen.count("skipped: dead", 0 < waiting);
                self.pool[index] = (request, None, fence);
            }
            Tried::Busy { .. } => {
                seen.count("try busy", true);
                seen.count("try busy, more to do", again);
            }
            Tried::Ended => seen.count("try of an ended request", true),
            Tried::Refused(refusal) => self.refused(refusal),
        }
        self.note_grants(&granted);
    }

    pub(super) async fn renew(&mut self) {
        let index = self.holder_or_any().await;
        let fence = self.pool[index].2;
        let fence = if self.random.random_bool(0.9) {
            fence
        } else {
            fence + 1
        };
        self.renew_as(index, fence).await;
    }

    pub(super) async fn renew_as(&mut self, index: usize, fence: u64) {
        let request = self.pool[index].0.clone();
        let is_shared = 0 < sharers(&self.rig.inspect().await);
        let kind = match self.rig.renew(&request.id, fence, request.lease_ms).await {
            Renewed::Renewed { .. } if is_shared => "shared hold renewed",
            Renewed::Stopping { .. } if is_shared => "shared hold stopping",
            Renewed::Renewed { .. } => "renewed",
            Renewed::Stopping { .. } => "stopping",
            Renewed::NotYours { taken: true } => "taken",
            Renewed::NotYours { taken: false } => "gone",
        };
        self.seen.count(kind, true);
    }

    pub(super) async fn end(&mut self) {
        let index = self.holder_or_any().await;
        let request = self.pool[index].0.clone();
        let tombstone = self.random.random_bool(0.2);
        let status = self.rig.inspect().await;
        let before = status.waiting;
        let (reply, granted, again) = self.rig.end(&request, tombstone).await;
        let after = self.rig.inspect().await.waiting;
        let seen = &mut self.seen;
        seen.count("end, more to do", again);
        seen.count(
            "skipped: no listener",
            reply == Ended::Released && after + (granted.len() as u64) < before,
        );
        match reply {
            Ended::Released => {
                seen.count("released", true);
                seen.count("shared hold released, others stay", 1 < sharers(&status));
                seen.count("released and handed off", !granted.is_empty());
            }
            Ended::Left => seen.count("left", true),
            Ended::NotYours { taken: true } => seen.count("end beside a holder", true),
            Ended::NotYours { taken: false } => seen.count("end of nothing", true),
        }
        seen.count(
            "end hands off for another",
            reply != Ended::Released && !granted.is_empty(),
        );
        self.note_grants(&granted);
    }

    pub(super) async fn break_hold(&mut self) {
        let status = self.rig.inspect().await;
        let listed = status.sharing.as_ref().map_or(&[][..], |s| &s.holders);
        let of_sharer = match listed.len() {
            0 => None,
            n => listed[self.random.random_range(0..n)].holder.fence,
        };
        let of_holder = status.holder.as_ref().and_then(|holder| holder.fence);
        let fence = match of_sharer.or(of_holder) {
            Some(fence) if self.random.random_bool(0.8) => fence,
            _ => 7,
        };
        let at_once = self.random.random_bool(0.5);
        let external = status
            .holder
            .as_ref()
            .filter(|holder| holder.fence.is_none());
        let (reply, granted, _) = match external {
            Some(holder) if self.random.random_bool(0.8) => {
                let owner = holder.owner.clone();
                self.seen.count("external hold broken", true);
                self.rig.break_external(owner).await
            }
            _ => self.rig.break_hold(fence, at_once).await,
        };
        match reply {
            Broken::Freed => {
                self.seen.count("broken", true);
                let stay = 1 < sharers(&status);
                self.seen.count("shared hold broken, others stay", stay);
                self.seen
                    .count("broken and handed off", !granted.is_empty());
            }
            Broken::Asked { .. } => {
                self.seen.count("asked to stop", true);
                let asked = self.pool.iter().position(|(.., known)| *known == fence);
                if let Some(index) = asked {
                    self.renew_as(index, fence).await;
                }
            }
            Broken::NotHeld => self.seen.count("not held", true),
        }
        self.note_grants(&granted);
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        let kind = match refusal {
            Refusal::AboveLimit { .. } => "refused: above the limit",
            Refusal::LimitDiffers { .. } => "refused: another limit",
        };
        self.seen.count(kind, true);
    }

    pub(super) async fn downgrade(&mut self) {
        let index = self.holder_or_any().await;
        self.downgrade_of(index).await;
    }

    pub(super) async fn downgrade_of(&mut self, index: usize) {
        let (request, _, fence) = self.pool[index].clone();
        let was_shared = 0 < sharers(&self.rig.inspect().await);
        let lease = request.lease_ms;
        let (reply, granted, _) = self.rig.downgrade(&request.id, fence, lease).await;
        let seen = &mut self.seen;
        match reply {
            Downgraded::Downgraded { .. } if was_shared => seen.count("downgraded again", true),
            Downgraded::Downgraded { .. } => {
                seen.count("downgraded", true);
                seen.count("downgraded and handed off", !granted.is_empty());
            }
            Downgraded::Refused(_) => seen.count("downgrade refused", true),
            Downgraded::NotYours { .. } => {}
        }
        self.note_grants(&granted);
    }

    /// Transfers a hold to another request, mostly a fresh one; sometimes twice.
    pub(super) async fn transfer(&mut self) {
        let from = self.holder_or_any().await;
        let (owner, _, fence) = self.pool[from].clone();
        let to = match self.random.random_range(0..6) {
            0 => owner.clone(),
            1 => self.pool[self.random.random_range(0..self.pool.len())]
                .0
                .clone(),
            2 => self.detached(),
            _ => self.fresh(),
        };
        if self.random.random_bool(0.15) {
            let (_, granted, _) = self.rig.break_hold(fence, false).await;
            self.note_grants(&granted);
        }
        let was_shared = 0 < sharers(&self.rig.inspect().await);
        for repeated in [false, true] {
            let reply = self.rig.transfer(&owner.id, fence, &to).await;
            let kind = match (reply, repeated) {
                (Renewed::Renewed { .. }, true) => "transferred again",
                (Renewed::Renewed { .. }, false) if was_shared => "shared hold transferred",
                (Renewed::Renewed { .. }, false) => "transferred",
                (Renewed::Stopping { .. }, _) => "stopping, not transferred",
                (Renewed::NotYours { .. }, _) => "not transferred",
            };
            self.seen.count(kind, true);
            if let (Renewed::Renewed { .. }, false) = (reply, repeated) {
                self.pool[from] = (to.clone(), None, fence);
            }
            if self.random.random_bool(0.5) {
                break;
            }
        }
    }

    /// Returns a fresh request that no process renews.
    fn detached(&mut self) -> Contender {
        let request = self.fresh();
        Contender {
            id: detached_id(&request.id),
            channel: "-".into(),
            ..request
        }
    }

    pub(super) async fn resize(&mut self) {
        let limit = NonZeroU32::MIN.saturating_add(self.random.random_range(0..6));
        let (reply, granted, _) = self.rig.resize(limit).await;
        match reply {
            Resized::Resized { .. } => {
                self.seen.count("resized", true);
                self.seen
                    .count("resized and handed off", !granted.is_empty());
            }
            Resized::NotHeld => self.seen.count("nothing to resize", true),
        }
        self.note_grants(&granted);
    }

    /// Writes a value or a run, as a holder.
    pub(super) async fn write(&mut self) {
        let index = self.holder_or_any().await;
        self.write_as(index).await;
    }

    pub(super) async fn write_as(&mut self, index: usize) {
        let (request, _, fence) = self.pool[index].clone();
        let memory_ms = [900, 5_000, 100_000][self.random.random_range(0..3)];
        let owner = request.id;
        let (kind, write) = match self.random.random_range(0..9) {
            0 | 1 => {
                let value = "a b".into();
                let write = Request::Proclaim {
                    owner,
                    fence,
                    value,
                };
                ("proclaimed", write)
            }
            2..=5 => {
                let write = Request::BeginRun {
                    owner,
                    fence,
                    turn: Moment::from_micros(fence),
                    memory_ms,
                };
                ("run begun", write)
            }
            step => {
                let fence = self.rig.last_run().await.map_or(fence, |run| run.fence);
                let outcome = "0".into();
                match step {
                    6 | 7 => ("run ended", Request::FinishRun { fence, outcome }),
                    _ => ("run forgotten", Request::ForgetRun { fence }),
                }
            }
        };
        let written = self.rig.write(&write).await;
        self.seen.count(kind, written == Written::Written);
    }
}
