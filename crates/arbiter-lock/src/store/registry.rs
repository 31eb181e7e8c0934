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
}

/// Receives the grant of one waiter, and the wakes to poll again.
pub(crate) struct Slot {
    /// The channel of its grants.
    #[cfg_attr(
        not(any(feature = "redis", feature = "embedded", feature = "postgres")),
        expect(dead_code, reason = "no connection is lost")
    )]
    channel: Arc<str>,
    arrived: Mutex<Option<PushedGrant>>,
    bell: Notify,
    /// How often it was woken to poll again.
    wakes: AtomicU64,
}

/// A grant that arrived as a message, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PushedGrant {
    pub(crate) push: Push,
    pub(crate) source: Source,
}

/// The connection on which a time of the store arrived; zero for a store without connections.
///
/// Times of two connections may be of the clocks of two servers, so they are not compared.
pub(crate) type Source = u64;

/// The cause of a waiter's wake-up.
#[derive(Debug)]
pub(crate) enum Woken {
    Granted(PushedGrant),
    PollAgain,
}

impl Registry {
    /// Registers the waiter of a request, whose grants arrive on that channel.
    pub(crate) fn register(&self, request: Arc<str>, channel: Arc<str>) -> Arc<Slot> {
        let new = || {
            Arc::new(Slot {
                channel,
                arrived: Mutex::default(),
                bell: Notify::new(),
                wakes: AtomicU64::new(0),
            })
        };
        self.slots().entry(request).or_insert_with(new).clone()
    }

    pub(crate) fn remove(&self, request: &str) {
        self.slots().remove(request);
    }

    /// Delivers a grant from that source to its waiter. Without a waiter it is dropped, since a
    /// request that was given up is ended anyway.
    pub(crate) fn deliver(&self, source: Source, push: Push) {
        let slot = self.slots().get(&push.request).cloned();
        if let Some(slot) = slot {
            slot.put(PushedGrant { push, source });
        }
    }

    /// Makes the waiter of a request poll, if there is one.
    #[cfg(feature = "redis")]
    pub(crate) fn wake(&self, request: &str) {
        let slot = self.slots().get(request).cloned();
        if let Some(slot) = slot {
            slot.wake();
        }
    }

    /// Makes the waiters of those channels poll, since messages may have been missed.
    #[cfg(any(feature = "redis", feature = "embedded", feature = "postgres"))]
    pub(crate) fn poll_again(&self, is_of: impl Fn(&str) -> bool) {
        let mut slots = Vec::from_iter(self.slots().values().cloned());
        slots.retain(|slot| is_of(&slot.channel));
        slots.iter().for_each(|slot| slot.wake());
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

    #[cfg(any(feature = "redis", feature = "embedded", feature = "postgres"))]
    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::AcqRel);
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

    /// Returns how often the waiter was woken to poll again.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Acquire)
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
        registry.deliver(0, push("late", 1));
        let [late, other] = ["late", "o"].map(|id| registry.register(id.into(), "c".into()));
        assert!(late.woken().now_or_never().is_none());
        registry.deliver(7, push("o", 2));
        assert!(late.woken().now_or_never().is_none());
        let push = push("o", 2);
        let arrived = PushedGrant { push, source: 7 };
        assert_eq!(other.granted().now_or_never(), Some(arrived));
    }

    #[cfg(any(feature = "redis", feature = "embedded", feature = "postgres"))]
    #[test]
    fn only_waiters_of_the_channel_poll_again() {
        let registry = Registry::default();
        let [one, other] = ["one", "other"].map(|id| registry.register(id.into(), id.into()));
        registry.poll_again(|channel| channel == "one");
        assert_eq!((one.wakes(), other.wakes()), (1, 0));
        let polls = one.woken().now_or_never();
        assert!(matches!(polls, Some(Woken::PollAgain)), "{polls:?}");
        assert!(other.woken().now_or_never().is_none());
    }
}
