//! The steps for shared holds only: `downgrade` and `resize`.

use std::num::NonZeroU32;

use super::answer::{Answer, Downgraded, Refusal, Resized};
use super::hand_off::HandOff;
use super::rows::{Hold, Rows};
use super::{Limit, Mode, Moment, Resource};

impl<R: Rows> Resource<R> {
    /// Turns the writer with this owner and this fence into a reader, without a gap.
    ///
    /// The result is a shared hold of weight 1 without a limit, with the same fence, extended as by
    /// a renewal. Waiting readers are granted. Repeated, it extends the hold and hands off.
    pub fn downgrade(
        &mut self,
        now: Moment,
        owner: &str,
        fence: u64,
        lease_ms: u64,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Downgraded> {
        self.settle(now);
        let found = self.hold_of(owner);
        let Some(mut hold) = found.filter(|hold| hold.fence == Some(fence)) else {
            return Answer::only(Downgraded::NotYours {
                taken: !self.is_free(),
            });
        };
        if self.root().sharing.is_some() {
            let ttl_ms = hold.prolong_unless_stopping(now, lease_ms);
            self.put_hold(hold);
            return self.downgraded(now, ttl_ms, reach);
        }
        if let Some(limit @ Some(_)) = self.limit_in_force() {
            return Answer::only(Downgraded::Refused(Refusal::LimitDiffers {
                limit: limit.map(NonZeroU32::get),
            }));
        }
        self.drop_hold(&hold);
        let ttl_ms = hold.prolong_unless_stopping(now, lease_ms);
        let reader = Hold {
            weight: 1,
            value: None,
            ..hold
        };
        let mode = Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Unlimited,
        };
        self.add_hold(reader, mode);
        self.downgraded(now, ttl_ms, reach)
    }

    fn downgraded(
        &mut self,
        now: Moment,
        ttl_ms: u64,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Downgraded> {
        let HandOff { granted, again, .. } = self.hand_off(now, None, reach);
        Answer {
            reply: Downgraded::Downgraded { ttl_ms },
            granted,
            again,
        }
    }

    /// Changes the limit of the shared holds. If they weigh more than the new limit, nothing is
    /// granted before enough of them have ended.
    pub fn resize(
        &mut self,
        now: Moment,
        limit: NonZeroU32,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Resized> {
        self.settle(now);
        let sharing = self.root_mut().sharing.as_mut();
        let Some(stored) = sharing.and_then(|sharing| sharing.limit.as_mut()) else {
            return Answer::only(Resized::NotHeld);
        };
        let before = std::mem::replace(stored, limit);
        let HandOff { granted, again, .. } = self.hand_off(now, None, reach);
        Answer {
            reply: Resized::Resized { before },
            granted,
            again,
        }
    }
}
