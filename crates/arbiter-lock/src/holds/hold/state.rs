//! The state of one hold, by the local clock.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use arbiter_lock_core::{Contender, Lease, Mode, Next, Renewal};

use crate::errors::error::{Error, Loss};
use crate::errors::lost_reason::LostReason;
use crate::events::metrics::Series;
use crate::events::report::HoldReport;
use crate::primitives::options::Options;
use crate::sessions::session_id::SessionId;
use crate::store::{EndedHold, Failure, FailureKind, PendingRelease};
use crate::system::clock::Clock;
use crate::system::process::{ForkGeneration, LeakInChild};

/// The state that the guard, the keeper and all views of one hold share.
pub(crate) struct HoldState {
    pub(crate) name: arbiter_lock_core::Name,
    pub(crate) contender: Arc<Contender>,
    pub(crate) fence: u64,
    pub(crate) session: Option<SessionId>,
    /// Whether its end has to leave a tombstone, since an acquire of it was never answered.
    pub(crate) tombstone: bool,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
    pub(crate) series: Series,
    /// When the grant reached the caller.
    begun: Duration,
    local: LeakInChild<Mutex<LocalState>>,
}

struct LocalState {
    lease: Lease,
    /// When `max_hold` ends the hold.
    latest_end: Duration,
    /// Why it is over, and when it ended.
    over: Option<(LostReason, Duration)>,
    exclusivity: Exclusivity,
    /// How many guards of a session write.
    writers: usize,
    /// Why the last renewal has no known outcome, if it has none.
    failed: Option<Failure>,
    wakers: Vec<(u64, Waker)>,
    next_waker_slot: u64,
}

/// Whether other holders may exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exclusivity {
    Exclusive,
    /// A downgrade has no known outcome.
    Unknown,
    Shared,
}

/// Counts a guard of a session as a writer until it is dropped.
pub(crate) struct Writer(Arc<HoldState>);

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(mut local) = self.0.local() {
            local.writers -= 1;
        }
    }
}

/// A grant with its local deadline: the earliest start of its TTL, and the TTL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) fence: u64,
    pub(crate) base: Duration,
    pub(crate) ttl: Duration,
}

/// The request that was granted.
pub(crate) struct Granted {
    pub(crate) name: arbiter_lock_core::Name,
    pub(crate) contender: Arc<Contender>,
    pub(crate) session: Option<SessionId>,
    /// Whether an acquire of it was never answered.
    pub(crate) tombstone: bool,
    pub(crate) series: Series,
}

impl HoldState {
    /// Makes a hold of that process from a grant.
    pub(crate) fn new(
        granted: Granted,
        validity: Validity,
        options: Arc<Options>,
        clock: Clock,
        process: &ForkGeneration,
    ) -> Self {
        let Granted {
            name,
            contender,
            session,
            tombstone,
            series,
        } = granted;
        let claim_due = (validity.ttl < options.lease).then(|| validity.ttl / 10);
        let renew_after = claim_due.or(options.renew_after());
        let ttl = validity.ttl.min(options.lease);
        let lease = Lease::new(validity.base, ttl, options.margin(ttl), renew_after);
        let begun = clock.now();
        let latest_end = options
            .max_hold
            .map_or(Duration::MAX, |d| begun.saturating_add(d));
        let exclusivity = match contender.mode {
            Mode::Exclusive => Exclusivity::Exclusive,
            Mode::Shared { .. } => Exclusivity::Shared,
        };
        let local = LocalState {
            lease,
            latest_end,
            over: None,
            exclusivity,
            writers: 0,
            failed: None,
            wakers: Vec::new(),
            next_waker_slot: 0,
        };
        Self {
            name,
            contender,
            fence: validity.fence,
            session,
            tombstone,
            options,
            clock,
            series,
            begun,
            local: LeakInChild::of(process, Mutex::new(local)),
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.exclusivity() != Exclusivity::Exclusive
    }

    /// Returns whether other holders may exist. In a forked process they may: the parent, for one.
    pub(crate) fn exclusivity(&self) -> Exclusivity {
        self.local()
            .map_or(Exclusivity::Unknown, |local| local.exclusivity)
    }

    /// Counts a guard as a writer. Returns `None` if the hold may be shared.
    pub(crate) fn join_as_writer(self: &Arc<Self>) -> Option<Writer> {
        let mut local = self.local()?;
        (local.exclusivity == Exclusivity::Exclusive).then(|| {
            local.writers += 1;
            Writer(self.clone())
        })
    }

    /// Marks the hold as perhaps shared, unless more than `asking` guards write. Returns the state
    /// before.
    pub(crate) fn begin_downgrade(&self, asking: usize) -> Option<Exclusivity> {
        let mut local = self.local()?;
        let before = local.exclusivity;
        if before == Exclusivity::Shared {
            return Some(before);
        }
        (local.writers <= asking).then(|| {
            local.exclusivity = Exclusivity::Unknown;
            before
        })
    }

    pub(crate) fn set_exclusivity(&self, exclusivity: Exclusivity) {
        if let Some(mut local) = self.local() {
            local.exclusivity = exclusivity;
        }
    }

    /// Locks the local state. Returns `None` in a forked process, whose copy of the mutex may stay
    /// locked forever.
    fn local(&self) -> Option<MutexGuard<'_, LocalState>> {
        let local = self.local.unless_forked()?;
        Some(local.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Blocks all checks of whether the hold is over, until the returned guard is dropped.
    #[cfg(test)]
    pub(crate) fn hold_up(&self) -> impl Sized + '_ {
        self.local()
    }

    /// Returns why the hold is over, if it is. The first call that detects it wakes all waiting
    /// futures. A waker runs code of its owner, so no lock may be held here.
    pub(crate) fn over(&self) -> Option<LostReason> {
        self.end_if(|local, now| local.ended_by(now))
    }

    /// Returns whether the hold is over. Wakes nothing, so it may be called under a lock.
    pub(crate) fn is_over(&self) -> bool {
        let local = self.local();
        local.is_none_or(|mut local| local.end_if_due(self.clock.now()).is_some())
    }

    /// Ends the hold locally, unless it is over already. Returns why it is over.
    pub(crate) fn give_up(&self, reason: LostReason) -> LostReason {
        self.end_if(|local, now| local.ended_by(now).or(Some(reason)))
            .unwrap_or(reason)
    }

    fn end_if(
        &self,
        decide: impl Fn(&LocalState, Duration) -> Option<LostReason>,
    ) -> Option<LostReason> {
        let Some(mut local) = self.local() else {
            return Some(LostReason::Forked);
        };
        if local.over.is_none() {
            let now = self.clock.now();
            if let Some(reason) = decide(&local, now) {
                local.end(reason, now);
            }
        }
        let (over, _) = local.over?;
        let wakers = std::mem::take(&mut local.wakers);
        drop(local);
        for (_, waker) in wakers {
            // A panic must stop neither the other wakers nor the keeper.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        Some(over)
    }

    /// Removes the waker of a future that was dropped.
    pub(super) fn remove_waker(&self, slot: u64) {
        let Some(mut local) = self.local() else {
            return;
        };
        let left = local.wakers.extract_if(.., |(other, _)| *other == slot);
        let left: Vec<_> = left.collect();
        drop(local);
        // Dropped after the lock is released, since that runs code of the waker's owner.
        drop(left);
    }

    pub(super) fn poll_over(&self, slot: &mut Option<u64>, waker: &Waker) -> Option<LostReason> {
        if let Some(reason) = self.over() {
            return Some(reason);
        }
        // Cloned before the lock is taken, and dropped after.
        let mut waker = waker.clone();
        let Some(mut local) = self.local() else {
            return Some(LostReason::Forked);
        };
        let number = slot.unwrap_or(local.next_waker_slot);
        if slot.is_none() {
            local.next_waker_slot += 1;
            *slot = Some(number);
        }
        match local.wakers.iter_mut().find(|(other, _)| *other == number) {
            Some((_, known)) => std::mem::swap(known, &mut waker),
            None => local.wakers.push((number, waker)),
        }
        local.over.map(|(reason, _)| reason)
    }

    pub(crate) fn remaining(&self) -> Duration {
        match self.over() {
            Some(_) => Duration::ZERO,
            None => self.validity_end().saturating_sub(self.clock.now()),
        }
    }

    /// Returns the keeper's next action. Wakes nothing, so it may be called under a lock.
    pub(crate) fn next(&self, now: Duration) -> Next {
        let Some(mut local) = self.local() else {
            return Next::Lost;
        };
        match local.end_if_due(self.clock.now()) {
            Some(_) => Next::Lost,
            None => local.next(now),
        }
    }

    /// Returns the renewal to send.
    pub(crate) fn renewal(&self) -> Renewal {
        Renewal {
            owner: self.contender.id.clone(),
            fence: self.fence,
            lease_ms: self.contender.lease_ms,
            may_share: self.is_shared(),
        }
    }

    /// Returns whether the refusal of that renewal counts. It does not if the hold was downgraded
    /// after the renewal was made.
    pub(crate) fn is_refused(&self, renewal: &Renewal) -> bool {
        renewal.may_share || !self.is_shared()
    }

    /// Returns the pending release to send when the hold ends.
    pub(crate) fn pending_release(&self, is_held: bool) -> PendingRelease {
        PendingRelease {
            name: self.name.clone(),
            contender: self.contender.clone(),
            tombstone: self.tombstone,
            held: is_held.then(|| EndedHold {
                fence: self.fence,
                held: self.held(),
                series: self.series.clone(),
            }),
        }
    }

    /// Returns the parts of the hold that reports show.
    pub(crate) fn report(&self) -> HoldReport<'_> {
        HoldReport {
            name: &self.name,
            owner: &self.contender.id,
            fence: self.fence,
            series: &self.series,
        }
    }

    /// Returns how long the hold has lasted, or did last if it is over. Zero in a forked process.
    pub(crate) fn held(&self) -> Duration {
        self.held_since(self.begun)
    }

    /// Returns how much of that time was after `since`.
    pub(crate) fn held_since(&self, since: Duration) -> Duration {
        let Some(local) = self.local() else {
            return Duration::ZERO;
        };
        let end = local.over.map_or_else(|| self.clock.now(), |(_, end)| end);
        end.saturating_sub(since)
    }

    /// Returns when the hold ends without another renewal.
    pub(crate) fn validity_end(&self) -> Duration {
        self.local()
            .map_or(Duration::ZERO, |local| local.validity_end())
    }

    /// Returns when the newest request was sent that the store has confirmed: the acquire, or a
    /// renewal. For a pushed grant, it is the earliest time of the grant.
    pub(crate) fn confirmed_at(&self) -> Duration {
        self.local()
            .map_or(Duration::ZERO, |local| local.lease.confirmed_at())
    }

    /// Makes the next renewal due at `now`, unless none is due ever.
    pub(crate) fn renew_at(&self, now: Duration) {
        if let Some(mut local) = self.local() {
            local.lease.postpone(now);
        }
    }

    /// Notes that a renewal is sent at `sent`.
    pub(crate) fn ask(&self, sent: Duration) {
        let Some(mut local) = self.local() else {
            return;
        };
        if local.lease.is_unanswered() {
            local.failed.get_or_insert_with(|| {
                Failure::unknown(FailureKind::Silent, "no answer to a renewal")
            });
        }
        local.lease.ask(sent);
    }

    /// Notes that a renewal sent at `sent` set the TTL to `ttl`. At most the lease counts, even if
    /// the store's clock was set back: it may be set forward again.
    pub(crate) fn confirm(&self, sent: Duration, ttl: Duration) {
        if self.over().is_some() {
            return; // lost is final
        }
        let renew_after = self.options.renew_after();
        let ttl = ttl.min(self.options.lease);
        if let Some(mut state) = self.local() {
            state.failed = None;
            state.lease.set_margin(self.options.margin(ttl));
            state.lease.confirm(sent, ttl, renew_after);
        }
    }

    /// Notes that a renewal sent at `sent` has no known outcome. If it is the newest, it is due
    /// again at `again`. Returns whether no later renewal is confirmed.
    pub(crate) fn fail(&self, sent: Duration, again: Duration, failure: &Failure) -> bool {
        let Some(mut local) = self.local() else {
            return false;
        };
        let counts = local.lease.fail(sent, again);
        if counts {
            let earlier = local.failed.take();
            let earlier = earlier.filter(|earlier| failure.says_less_than(earlier));
            local.failed = Some(earlier.unwrap_or_else(|| failure.clone()));
        }
        counts
    }

    /// Returns the loss for that reason, with the store's last answer.
    pub(crate) fn loss(&self, reason: LostReason) -> Loss {
        let is_unrenewed = matches!(reason, LostReason::Unreachable | LostReason::NotRenewed);
        let local = self.local().filter(|_| is_unrenewed);
        Loss {
            name: self.name.as_str().to_owned(),
            reason,
            failure: local.and_then(|local| local.failed.clone()),
        }
    }

    /// Returns the error for the loss for that reason.
    pub(crate) fn lost(&self, reason: LostReason) -> Error {
        Error::Lost(Box::new(self.loss(reason)))
    }
}

impl LocalState {
    fn end_if_due(&mut self, now: Duration) -> Option<LostReason> {
        if self.over.is_none()
            && let Some(reason) = self.ended_by(now)
        {
            self.end(reason, now);
        }
        self.over.map(|(reason, _)| reason)
    }

    /// Ends the hold at `now`, or at its deadline if that has passed.
    fn end(&mut self, reason: LostReason, now: Duration) {
        self.over = Some((reason, now.min(self.validity_end())));
    }

    fn validity_end(&self) -> Duration {
        self.lease.end().min(self.latest_end)
    }

    fn ended_by(&self, now: Duration) -> Option<LostReason> {
        if self.latest_end <= now && self.latest_end < self.lease.end() {
            return Some(LostReason::MaxHold);
        }
        let reason = match &self.failed {
            None if self.lease.is_unanswered() => LostReason::Unreachable,
            None => LostReason::Expired,
            Some(failure) if failure.is_silence() => LostReason::Unreachable,
            Some(_) => LostReason::NotRenewed,
        };
        (self.lease.end() <= now).then_some(reason)
    }

    fn next(&self, now: Duration) -> Next {
        match self.lease.next(now) {
            Next::Sleep { until } => Next::Sleep {
                until: until.min(self.latest_end),
            },
            next => next,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::Client;

    #[tokio::test(start_paused = true)]
    async fn lost_future_registers_one_waker_until_dropped() {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        let hold = guard.hold();
        let wakers = || hold.state.local().unwrap().wakers.len();
        let mut waits = [Box::pin(hold.lost()), Box::pin(hold.lost())];
        for _ in 0..3 {
            for wait in &mut waits {
                let waited = tokio::time::timeout(Duration::from_millis(1), wait).await;
                assert!(waited.is_err());
            }
            assert_eq!(wakers(), 2, "however often they are polled");
        }
        let [first, second] = waits;
        drop(first);
        assert_eq!(wakers(), 1);
        drop(second);
        assert_eq!(wakers(), 0);
    }
}
