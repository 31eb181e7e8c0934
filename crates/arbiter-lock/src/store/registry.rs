//! The waiters of one runtime. A waiter is registered before its request is sent, since a grant can
//! overtake the reply to that request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arbiter_lock_core::{Grant, Moment};
use tokio::sync::Notify;

/// A grant that arrived as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    pub(crate) request: Arc<str>,
    pub(crate) fence: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) at: Moment,
}

impl From<Grant> for Push {
    fn from(grant: Grant) -> Self {
        Self {
            request: grant.request,
            fence: grant.fence,
            ttl_ms: grant.ttl_ms,
            at: grant.at,
        }
    }
}

/// The waiters of one runtime.
#[derive(Default)]
pub(crate) struct Registry {
    slots: Mutex<HashMap<Arc<str>, Arc<Slot>>>,
    epoch: Arc<AtomicU64>,
}

/// Receives the grant of one waiter, and the wakes to poll again.
pub(crate) struct Slot {
    arrived: Mutex<Option<PushedGrant>>,
    bell: Notify,
    /// The epoch of the registry.
    epoch: Arc<AtomicU64>,
}

/// A grant that arrived as a message, and the epoch in which it did.
///
/// A new epoch begins when the server may be another one. Times of two epochs may be of two clocks,
/// so they are not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PushedGrant {
    pub(crate) push: Push,
    pub(crate) epoch: u64,
}

/// What woke a waiter.
#[derive(Debug)]
pub(crate) enum Woken {
    Granted(PushedGrant),
    PollAgain,
}

impl Registry {
    pub(crate) fn register(&self, request: Arc<str>) -> Arc<Slot> {
        let new = || {
            Arc::new(Slot {
                arrived: Mutex::default(),
                bell: Notify::new(),
                epoch: self.epoch.clone(),
            })
        };
        self.slots().entry(request).or_insert_with(new).clone()
    }

    pub(crate) fn remove(&self, request: &str) {
        self.slots().remove(request);
    }

    /// Delivers a grant to its waiter. Without a waiter it is dropped, since a request that was given
    /// up is ended anyway.
    pub(crate) fn deliver(&self, push: Push) {
        self.deliver_of(self.epoch(), push);
    }

    /// Delivers a grant that arrived in that epoch.
    pub(crate) fn deliver_of(&self, epoch: u64, push: Push) {
        let slot = self.slots().get(&push.request).cloned();
        if let Some(slot) = slot {
            slot.put(PushedGrant { push, epoch });
        }
    }

    /// Returns the current epoch: how often the server may have been replaced by another one.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Makes every waiter poll, since messages may have been missed. The server may be another one,
    /// so a new epoch begins.
    #[cfg(any(feature = "redis", feature = "embedded"))]
    pub(crate) fn poll_again(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let slots: Vec<_> = self.slots().values().cloned().collect();
        slots.iter().for_each(|slot| slot.bell.notify_one());
    }

    /// Returns the number of waiters.
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    /// Returns whether there is no waiter.
    #[cfg(feature = "embedded")]
    pub(crate) fn is_empty(&self) -> bool {
        self.slots().is_empty()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Keeps the newest grant.
    fn put(&self, grant: PushedGrant) {
        let mut arrived = self.arrived();
        let kept = arrived.as_ref();
        if kept.is_none_or(|old| old.push.fence < grant.push.fence) {
            *arrived = Some(grant);
        }
        drop(arrived);
        self.bell.notify_one();
    }

    /// Waits for a grant, or for a wake to poll again.
    ///
    /// Cancel safe: a wake that no call received is kept for the next call.
    pub(crate) async fn woken(&self) -> Woken {
        if let Some(arrived) = self.take() {
            return Woken::Granted(arrived);
        }
        self.bell.notified().await;
        self.take().map_or(Woken::PollAgain, Woken::Granted)
    }

    /// Waits for a grant.
    ///
    /// Cancel safe, as [`Slot::woken`] is.
    pub(crate) async fn granted(&self) -> PushedGrant {
        loop {
            if let Woken::Granted(arrived) = self.woken().await {
                return arrived;
            }
        }
    }

    /// Takes the grant that has arrived, if there is one.
    fn take(&self) -> Option<PushedGrant> {
        self.arrived().take()
    }

    /// Returns the current epoch of the registry.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn arrived(&self) -> MutexGuard<'_, Option<PushedGrant>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn push(request: &str, fence: u64) -> Push {
        Push {
            request: request.into(),
            fence,
            ttl_ms: 3_000,
            at: Moment::from_micros(0),
        }
    }

    #[test]
    fn grant_reaches_only_its_registered_waiter() {
        let registry = Registry::default();
        registry.deliver(push("late", 1));
        let (late, other) = (
            registry.register("late".into()),
            registry.register("o".into()),
        );
        assert!(late.woken().now_or_never().is_none());
        registry.deliver(push("o", 2));
        assert!(late.woken().now_or_never().is_none());
        let push = push("o", 2);
        let arrived = PushedGrant { push, epoch: 0 };
        assert_eq!(other.granted().now_or_never(), Some(arrived));
    }

    #[cfg(any(feature = "redis", feature = "embedded"))]
    #[test]
    fn grant_keeps_the_epoch_in_which_it_arrived() {
        let registry = Registry::default();
        let slot = registry.register("r".into());
        registry.deliver(push("r", 1));
        registry.poll_again();
        assert_eq!(slot.epoch(), 1);
        let epoch = || slot.granted().now_or_never().map(|arrived| arrived.epoch);
        assert_eq!(epoch(), Some(0));
        registry.deliver(push("r", 2));
        assert_eq!(epoch(), Some(1));
    }
}
