//! The messages of a connection: grants for waiters, and its end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use redis::{PushInfo, PushKind, Value};

use super::{ConnectionShared, Up};
use crate::store::redis::frames::DELIVERED;
use crate::store::redis::reply::push as grant_in;
use crate::store::{Failure, FailureKind, Registry, Source};

/// Whether messages of a connection count: from when it is established until it is replaced or
/// closed. A request that is still in progress keeps the connection open after that.
#[derive(Clone)]
pub(super) struct Messages {
    /// A number that no other connection of this process has.
    pub(super) source: Source,
    state: Arc<AtomicU8>,
}

// A state only ever grows.
const DIALING: u8 = 0;
const COUNTED: u8 = 1;
const IGNORED: u8 = 2;
const OUT_OF_ORDER: u8 = 3;

/// The channels of slots that a connection to a node is subscribed to.
#[derive(Default)]
pub(super) struct Channels {
    pub(super) open: HashSet<Arc<str>>,
    /// How many subscriptions the node has ended.
    pub(super) ended: u64,
}

impl Messages {
    /// Makes those of a connection that is being dialed.
    pub(super) fn new() -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Self {
            source: NUMBERS.fetch_add(1, Ordering::Relaxed),
            state: Arc::new(AtomicU8::new(DIALING)),
        }
    }

    /// Counts messages from now on. Returns whether the connection was not closed meanwhile.
    pub(super) fn begin(&self) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let begun = (self.state).compare_exchange(DIALING, COUNTED, order.0, order.1);
        begun.is_ok()
    }

    pub(super) fn ignore(&self) {
        self.state.fetch_max(IGNORED, Ordering::AcqRel);
    }

    /// Notes that the client library has counted a message as an answer.
    fn mix_up(&self) {
        self.state.fetch_max(OUT_OF_ORDER, Ordering::AcqRel);
    }

    /// Returns whether answers may be those to other requests.
    pub(super) fn are_out_of_order(&self) -> bool {
        self.state.load(Ordering::Acquire) == OUT_OF_ORDER
    }

    /// Returns whether they are of the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// Returns the failure of a request whose answer may be that to another one.
pub(super) fn out_of_order() -> Failure {
    let detail = "the server sent a message that is not asked for";
    Failure::unknown(FailureKind::Unreachable, detail)
}

/// Returns the failure of a connection that the server closed.
pub(super) fn closed() -> Failure {
    let detail = "the server closed the connection";
    Failure::before_sending(FailureKind::Unreachable, detail)
}

impl ConnectionShared {
    /// Handles a message of the server, or the end of the connection.
    pub(super) fn receive(&self, push: PushInfo, messages: &Messages) {
        let counts = messages.state.load(Ordering::Acquire) == COUNTED;
        match (push.kind, push.data.as_slice()) {
            (PushKind::Message | PushKind::SMessage, [_, Value::BulkString(payload)]) if counts => {
                if let (Some(registry), Some((push, node))) = (self.registry(), grant_in(payload)) {
                    if self.route.node().is_none_or(|of| of.is(node)) {
                        registry.deliver(messages.source, push);
                    } else {
                        registry.wake(&push.request);
                    }
                }
            }
            (PushKind::Other(kind), [Value::BulkString(channel), ..]) if kind == DELIVERED => {
                self.unsubscribed(&String::from_utf8_lossy(channel), messages);
            }
            (PushKind::Disconnection, _) => {
                // If it is not established yet, the dialing fails.
                messages.ignore();
                self.lose(messages, &closed());
            }
            (PushKind::Unsubscribe | PushKind::PUnsubscribe | PushKind::SUnsubscribe, _) => {
                messages.mix_up();
                self.lose(messages, &out_of_order());
            }
            _ => {}
        }
    }

    /// Makes the waiters of a slot that has left the node poll at its new node.
    fn unsubscribed(&self, channel: &str, messages: &Messages) {
        let up = self.state().up.clone();
        if let Some(up) = up.filter(|up| up.messages.is(messages)) {
            let mut channels = up.channels();
            channels.open.remove(channel);
            channels.ended += 1;
        }
        if let Some(registry) = self.registry() {
            registry.poll_again(|waiting| waiting == channel);
        }
    }

    /// Returns the waiters of this runtime, if it subscribes.
    pub(super) fn registry(&self) -> Option<Arc<Registry>> {
        let subscription = self.subscription.as_ref();
        subscription.and_then(|subscription| subscription.registry.upgrade())
    }

    /// Returns how many waiters of this runtime wait for messages.
    pub(super) fn waiters(&self) -> usize {
        self.registry().map_or(0, |registry| registry.len())
    }

    /// Makes every waiter poll, which dials if there is no connection. On a cluster, these are the
    /// waiters of the slots that the connection was subscribed to.
    pub(super) fn poll_again(&self, up: &Up) {
        let Some(registry) = self.registry() else {
            return;
        };
        if self.route.node().is_none() {
            return registry.poll_again(|_| true);
        }
        let open = std::mem::take(&mut up.channels().open);
        registry.poll_again(|channel| open.contains(channel));
    }
}

impl Up {
    pub(super) fn channels(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
