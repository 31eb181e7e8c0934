//! The channels of this process, and the waiters behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arbiter_lock_core::Moment;

use super::wire::unescaped;
use crate::store::{Push, Registry, Source};

/// The channels of the runtimes of a client. A grant to one of them needs no notification.
#[derive(Default)]
pub(super) struct Listeners(Mutex<HashMap<Arc<str>, Weak<Registry>>>);

impl Listeners {
    fn channels(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Registry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, channel: Arc<str>, registry: Weak<Registry>) {
        self.channels().insert(channel, registry);
    }

    pub(super) fn remove(&self, channel: &str) {
        self.channels().remove(channel);
    }

    /// Returns the waiters behind a channel, if it is of this client.
    fn registry(&self, channel: &str) -> Option<Arc<Registry>> {
        self.channels().get(channel).and_then(Weak::upgrade)
    }

    pub(super) fn has(&self, channel: &str) -> bool {
        self.registry(channel).is_some()
    }

    /// Makes the waiters behind a channel poll.
    pub(super) fn poll_again(&self, channel: &str) {
        if let Some(registry) = self.registry(channel) {
            registry.poll_again(|_| true);
        }
    }

    /// Delivers a grant to its waiter.
    pub(super) fn deliver(&self, channel: &str, source: Source, push: Push) {
        if let Some(registry) = self.registry(channel) {
            registry.deliver(source, push);
        }
    }
}

/// Parses the [payload](super::wire::payload) of a notification.
pub(super) fn grant_in(payload: &str) -> Option<Push> {
    // The request comes first, and may have any text.
    let mut words = payload.rsplitn(4, ' ');
    let mut number = || words.next()?.parse().ok();
    let (at, ttl_ms, fence) = (number()?, number()?, number()?);
    Some(Push {
        request: unescaped(words.next()?).into(),
        fence,
        ttl_ms,
        at: Moment::from_micros(at),
    })
}
