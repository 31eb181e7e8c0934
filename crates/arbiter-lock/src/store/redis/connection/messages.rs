//! The messages of a connection: grants for waiters, and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::{PushInfo, PushKind, Value};

use super::ConnectionShared;
use crate::store::redis::reply;
use crate::store::{Failure, FailureKind, Registry};

/// Whether messages of a connection count: until it is replaced, dropped or closed. A request that
/// is still in progress keeps the connection open after that.
pub(super) struct Messages(Arc<AtomicBool>);

impl Messages {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(super) fn count(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn ignore(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Returns the callback for the messages of the connection.
    pub(super) fn callback(
        &self,
        shared: &Arc<ConnectionShared>,
    ) -> impl Fn(PushInfo) + Send + Sync + 'static {
        let (shared, count) = (Arc::downgrade(shared), self.0.clone());
        move |push| {
            if let Some(shared) = shared.upgrade() {
                shared.receive(push, &count);
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.ignore();
    }
}

/// Returns the failure of a connection that the server closed.
pub(super) fn closed() -> Failure {
    Failure::unknown(FailureKind::Unreachable, "the server closed the connection")
}

impl ConnectionShared {
    /// Handles a message of the server, or the end of the connection.
    fn receive(&self, push: PushInfo, count: &Arc<AtomicBool>) {
        // The epoch is read first: a connection is ignored before the next epoch begins. So a
        // message that counts arrived in this epoch.
        let epoch = self.registry().map(|registry| registry.epoch());
        let counts = count.load(Ordering::Acquire);
        match (push.kind, push.data.as_slice()) {
            (PushKind::Message, [_, Value::BulkString(payload)]) if counts => {
                let registry = self.registry().zip(epoch);
                if let (Some((registry, epoch)), Some(push)) = (registry, reply::push(payload)) {
                    registry.deliver_of(epoch, push);
                }
            }
            (PushKind::Subscribe, _) if counts => self.poll_again(),
            (PushKind::Disconnection | PushKind::Unsubscribe, _) => {
                // If it is not established yet, the dialing fails.
                count.store(false, Ordering::Release);
                self.lose(|up| Arc::ptr_eq(&up.messages.0, count), &closed());
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
            registry.poll_again();
        }
    }
}
