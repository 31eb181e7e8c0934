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
    push: Mutex<Option<Push>>,
    bell: Notify,
}

/// What woke a waiter.
#[derive(Debug)]
pub(crate) enum Woken {
    Granted(Push),
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

    /// Messages may have been missed: everybody looks again.
    #[cfg(any(feature = "redis", feature = "embedded"))]
    pub(crate) fn poll_again(&self) {
        let slots: Vec<_> = self.slots().values().cloned().collect();
        slots.iter().for_each(|slot| slot.bell.notify_one());
    }

    /// How many wait.
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
        let mut kept = self.push.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|old| old.fence < push.fence) {
            *kept = Some(push);
        }
        drop(kept);
        self.bell.notify_one();
    }

    /// Waits for a grant, or for a reason to look again.
    ///
    /// Cancel safe: what woke nobody is kept for the next call.
    pub(crate) async fn woken(&self) -> Woken {
        if let Some(push) = self.take() {
            return Woken::Granted(push);
        }
        self.bell.notified().await;
        self.take().map_or(Woken::PollAgain, Woken::Granted)
    }

    /// Waits for a grant.
    ///
    /// Cancel safe, as [`Slot::woken`] is.
    pub(crate) async fn granted(&self) -> Push {
        loop {
            if let Woken::Granted(push) = self.woken().await {
                return push;
            }
        }
    }

    /// The grant that has arrived, if one has.
    fn take(&self) -> Option<Push> {
        self.push
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
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
        assert_eq!(other.granted().now_or_never(), Some(push("o", 2)));
    }
}
