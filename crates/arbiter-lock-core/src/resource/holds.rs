//! The current holds: none, one exclusive hold, or several shared ones.

use std::num::NonZeroU32;

use super::answer::HolderView;
use super::rows::{Hold, Rows, Sharing};
use super::{Contender, EXPIRY_WATCHERS, Mode, Moment, PLACES, Resource};

/// The owner that represents all shared holds. No request has this id.
pub const SHARED_OWNER: &str = "shared";

impl Hold {
    pub(super) fn new(contender: &Contender, fence: u64, now: Moment, ttl_ms: u64) -> Self {
        Self {
            owner: contender.id.clone(),
            fence: Some(fence),
            weight: contender.mode.weight(),
            since: Some(now),
            last_milli: Some(now.last_milli(ttl_ms)),
            channel: contender.channel.clone(),
            label: contender.label.clone(),
            stopping: false,
            value: None,
        }
    }

    #[cfg(feature = "testing")]
    pub(super) fn external(owner: &str, last_milli: Option<u64>) -> Self {
        Self {
            owner: owner.into(),
            fence: None,
            weight: 0,
            since: None,
            last_milli,
            channel: "".into(),
            label: "".into(),
            stopping: false,
            value: None,
        }
    }

    pub(super) fn is_in_force(&self, now: Moment) -> bool {
        now.as_millis() <= self.end()
    }

    /// Returns the rest of the TTL; none if the hold has no end.
    pub(super) fn remaining_ms(&self, now: Moment) -> Option<u64> {
        self.last_milli
            .map(|last| last.saturating_sub(now.as_millis()))
    }

    /// Sets a TTL of at least `ttl_ms`, never a shorter one, and returns it.
    pub(super) fn prolong(&mut self, now: Moment, ttl_ms: u64) -> u64 {
        let ttl = self
            .remaining_ms(now)
            .map_or(ttl_ms, |left| left.max(ttl_ms));
        self.last_milli = Some(now.last_milli(ttl));
        ttl
    }

    /// Extends the hold, unless an operator asked it to stop; returns its TTL.
    pub(super) fn prolong_unless_stopping(&mut self, now: Moment, ttl_ms: u64) -> u64 {
        match self.remaining_ms(now).filter(|_| self.stopping) {
            Some(left) => left,
            None => self.prolong(now, ttl_ms),
        }
    }

    pub(super) fn view(&self, now: Moment) -> HolderView {
        HolderView {
            owner: self.owner.clone(),
            fence: self.fence,
            since: self.since,
            remaining_ms: self.remaining_ms(now),
            label: self.label.clone(),
        }
    }
}

impl<R: Rows> Resource<R> {
    /// Ends the expired holds, and returns them.
    pub(super) fn expire_holds(&mut self, now: Moment) -> Vec<Hold> {
        let alone = self.root().exclusive.as_ref();
        let expired = match alone.filter(|hold| !hold.is_in_force(now)) {
            Some(hold) => vec![hold.clone()],
            None if self.root().sharing.is_none() => Vec::new(),
            None => self.rows.expired(now.as_millis()),
        };
        expired.iter().for_each(|hold| self.drop_hold(hold));
        expired
    }

    /// Removes a hold from the records.
    pub(super) fn drop_hold(&mut self, hold: &Hold) {
        let root = self.rows.root_mut();
        root.exclusive = None;
        if let Some(sharing) = &mut root.sharing {
            sharing.count -= 1;
            sharing.weight -= u64::from(hold.weight);
            if sharing.count == 0 {
                root.sharing = None;
            }
            self.rows.remove_shared(&hold.owner);
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.root().exclusive.is_none() && self.root().sharing.is_none()
    }

    /// Returns whether a hold of that mode may join the current ones.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        match (&self.root().exclusive, &self.root().sharing, mode) {
            (None, None, Mode::Exclusive) => true,
            (None, None, Mode::Shared { weight, limit }) => {
                limit.first().is_none_or(|limit| weight <= limit)
            }
            (None, Some(held), Mode::Shared { weight, .. }) => held
                .limit
                .is_none_or(|limit| held.weight + u64::from(weight.get()) <= limit.get().into()),
            _ => false,
        }
    }

    /// Returns the limit that the shared holds or waiters have stated; none if there are neither.
    pub(super) fn limit_in_force(&self) -> Option<Option<NonZeroU32>> {
        let waiting = || match self.root().waiting {
            0 => None,
            _ => self.rows.first_waiting_to_share(),
        };
        match &self.root().sharing {
            Some(sharing) => Some(sharing.limit),
            None => waiting().map(|waiter| waiter.contender.mode.first_limit()),
        }
    }

    /// Adds a hold that [`Resource::admits`] has admitted.
    pub(super) fn add_hold(&mut self, hold: Hold, mode: Mode) {
        let root = self.rows.root_mut();
        if mode == Mode::Exclusive {
            root.exclusive = Some(hold);
            return;
        }
        let sharing = root.sharing.get_or_insert(Sharing {
            generation: hold.fence.unwrap_or_default(),
            limit: mode.first_limit(),
            count: 0,
            weight: 0,
        });
        sharing.count += 1;
        sharing.weight += u64::from(hold.weight);
        self.rows.put_shared(hold);
    }

    /// Returns the hold of that owner.
    pub(super) fn hold_of(&self, owner: &str) -> Option<Hold> {
        match (&self.root().exclusive, &self.root().sharing) {
            (Some(hold), _) => Some(hold).filter(|hold| &*hold.owner == owner).cloned(),
            (None, Some(_)) => self.rows.shared(owner),
            (None, None) => None,
        }
    }

    /// Returns the hold with that fence.
    pub(super) fn hold_of_fence(&self, fence: u64) -> Option<Hold> {
        match (&self.root().exclusive, &self.root().sharing) {
            (Some(hold), _) => Some(hold).filter(|hold| hold.fence == Some(fence)).cloned(),
            (None, Some(_)) => self.rows.shared_of_fence(fence),
            (None, None) => None,
        }
    }

    /// Writes a hold that was changed.
    pub(super) fn put_hold(&mut self, hold: Hold) {
        match &mut self.rows.root_mut().exclusive {
            Some(exclusive) => *exclusive = hold,
            None => self.rows.put_shared(hold),
        }
    }

    /// Returns the time until the expiry after which the waiter at that place polls, in
    /// milliseconds.
    ///
    /// An expiry is not announced. Each waiter ahead takes the place of one expired hold, so each
    /// expiry makes a few waiters poll, however many wait.
    pub(super) fn awaited_expiry_ms(&self, now: Moment, place: u64) -> Option<u64> {
        let nth = place.saturating_sub(EXPIRY_WATCHERS - 1).max(1);
        let end = match (&self.root().exclusive, &self.root().sharing) {
            (Some(hold), _) => hold.last_milli.filter(|_| nth == 1),
            (None, Some(_)) if place <= PLACES => self.rows.nth_to_expire(nth),
            _ => None,
        };
        end.map(|end| end.saturating_sub(now.as_millis()))
    }

    pub(super) fn holder(&self, now: Moment) -> Option<HolderView> {
        let root = self.root();
        if let Some(hold) = &root.exclusive {
            return hold.is_in_force(now).then(|| hold.view(now));
        }
        let sharing = root.sharing?;
        let longest = self.rows.last_to_expire(1).pop()?;
        longest.is_in_force(now).then(|| HolderView {
            owner: SHARED_OWNER.into(),
            fence: Some(sharing.generation),
            ..longest.view(now)
        })
    }
}
