//! Transfers: a hold goes to another request and keeps its fence, without a gap.
//!
//! A hold that no process renews is **detached**: its owner is an id of [`detached_id`].

use std::sync::Arc;

use super::answer::Renewed;
use super::rows::{Hold, Rows};
use super::{Contender, Moment, Resource};

/// The beginning of an id whose hold no process renews.
const DETACHED: &str = "detached-";

/// Returns the id of a detached hold that is drawn from `id`.
#[must_use]
pub fn detached_id(id: &str) -> Arc<str> {
    format!("{DETACHED}{id}").into()
}

/// Returns whether the owner is that of a detached hold.
#[must_use]
pub fn is_detached(owner: &str) -> bool {
    owner.starts_with(DETACHED)
}

impl<R: Rows> Resource<R> {
    /// Gives the hold with this owner *and* this fence to another request, for its lease.
    ///
    /// The hold keeps its fence and its start. Of several transfers of one hold, the first wins.
    /// Repeated, a transfer extends the hold. A hold that was asked to stop is not transferred, and a
    /// request that waits or was ended gets none.
    pub fn transfer(&mut self, now: Moment, owner: &str, fence: u64, to: &Contender) -> Renewed {
        self.settle(now);
        let of_fence = |hold: &Hold| hold.fence == Some(fence);
        let known = self.hold_of(&to.id);
        if known.as_ref().is_some_and(of_fence) {
            return self.renew(now, &to.id, fence, to.lease_ms);
        }
        let found = self.hold_of(owner).filter(of_fence);
        let is_refused = known.is_some() || self.has_place(&to.id) || self.has_tombstone(&to.id);
        match found.filter(|_| !is_refused) {
            None => Renewed::NotYours {
                taken: !self.is_free(),
            },
            Some(hold) if hold.stopping => Renewed::Stopping {
                ttl_ms: hold.remaining_ms(now).unwrap_or(to.lease_ms),
            },
            Some(hold) => {
                if self.root().sharing.is_some() {
                    self.rows.remove_shared(owner);
                }
                self.put_hold(Hold {
                    owner: to.id.clone(),
                    channel: to.channel.clone(),
                    label: to.label.clone(),
                    last_milli: Some(now.last_milli(to.lease_ms)),
                    ..hold
                });
                Renewed::Renewed {
                    ttl_ms: to.lease_ms,
                }
            }
        }
    }
}
