//! The messages of a connection: grants for waiters, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use redis::{PushInfo, PushKind, Value};

use super::ConnectionShared;
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

const DIALING: u8 = 0;
const COUNTED: u8 = 1;
const IGNORED: u8 = 2;

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
        self.state.store(IGNORED, Ordering::Release);
    }

    /// Returns whether they are of the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.source == other.source
    }
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
            (PushKind::Message, [_, Value::BulkString(payload)]) if counts => {
                if let (Some(registry), Some(push)) = (self.registry(), grant_in(payload)) {
                    registry.deliver(messages.source, push);
                }
            }
            (PushKind::Disconnection | PushKind::Unsubscribe, _) => {
                // If it is not established yet, the dialing fails.
                messages.ignore();
                self.lose(messages, &closed());
            }
            _ => {}
        }
    }

    /// Returns the waiters of this runtime, if it subscribes.
    fn registry(&self) -> Option<Arc<Registry>> {
        let subscription = self.subscription.as_ref();
        subscription.and_then(|subscription| subscription.registry.upgrade())
    }

    /// Returns how many waiters of this runtime wait for messages.
    pub(super) fn waiters(&self) -> usize {
        self.registry().map_or(0, |registry| registry.len())
    }

    /// Makes every waiter poll, which dials if there is no connection.
    pub(super) fn poll_again(&self) {
        if let Some(registry) = self.registry() {
            registry.poll_again(|_| true);
        }
    }
}
