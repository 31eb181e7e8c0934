//! Who of one runtime waits for a grant: registered before anything is sent, since a grant can
//! overtake the reply of the very step that queued its request.

use std::collections::HashMap;
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
}

/// Where one waiter hears of its grant, and of reasons to look again.
#[derive(Default)]
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    bell: Notify,
}

#[derive(Default)]
struct SlotState {
    arrived: Option<Arrived>,
    epoch: u64,
}

/// A grant that arrived as a message, and the epoch in which it did.
///
/// A new epoch begins when the server may be another one. Times of two epochs may be of two clocks,
/// so they are not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) push: Push,
    pub(crate) epoch: u64,
}

/// What woke a waiter.
#[derive(Debug)]
pub(crate) enum Woken {
    Granted(Arrived),
    PollAgain,
}

impl Registry {
    pub(crate) fn register(&self, request: Arc<str>) -> Arc<Slot> {
        self.slots().entry(request).or_default().clone()
    }

    pub(crate) fn remove(&self, request: &str) {
        self.slots().remove(request);
    }

    /// Hands a grant to its waiter. Nobody waits for it any more: dropped, since a request that
    /// was given up is ended anyway.
    pub(crate) fn deliver(&self, push: Push) {
        let slot = self.slots().get(&push.request).cloned();
        if let Some(slot) = slot {
            slot.put(push);
        }
    }

    /// Makes every waiter poll, since messages may have been missed. The server may be another one,
    /// so a new epoch begins.
    #[cfg(any(feature = "redis", feature = "embedded"))]
    pub(crate) fn poll_again(&self) {
        let slots: Vec<_> = self.slots().values().cloned().collect();
        for slot in slots {
            slot.state().epoch += 1;
            slot.bell.notify_one();
        }
    }

    /// How many wait.
    #[cfg(feature = "redis")]
    pub(crate) fn len(&self) -> usize {
        self.slots().len()
    }

    /// Whether nobody waits.
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
    fn put(&self, push: Push) {
        let mut state = self.state();
        let kept = state.arrived.as_ref();
        if kept.is_none_or(|old| old.push.fence < push.fence) {
            let epoch = state.epoch;
            state.arrived = Some(Arrived { push, epoch });
        }
        drop(state);
        self.bell.notify_one();
    }

    /// Waits for a grant, or for a reason to look again.
    ///
    /// Cancel safe: what woke nobody is kept for the next call.
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
    pub(crate) async fn granted(&self) -> Arrived {
        loop {
            if let Woken::Granted(arrived) = self.woken().await {
                return arrived;
            }
        }
    }

    /// The grant that has arrived, if one has.
    fn take(&self) -> Option<Arrived> {
        self.state().arrived.take()
    }

    /// Returns the current epoch: how often the server may have been replaced by another one.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let arrived = Arrived { push, epoch: 0 };
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
