//! Ends a request until the end is answered.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Backoff;

use super::Shared;
use crate::chance;
use crate::event::Event;
use crate::store::{Failure, FailureKind, Link, Order};

/// What the store remembers of a request beyond its lease.
const MEMORY: Duration = Duration::from_secs(60);

/// Counts the order as unfinished for as long as it lives; leaves it to the next task if it is
/// dropped with its runtime.
struct Unfinished {
    shared: Arc<Shared>,
    order: Option<Order>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.shared.table().finished(self.order.take());
        self.shared.finished.notify_all();
    }
}

/// Sends the end until it is answered, or until the store has nothing of the request any more.
pub(super) async fn finish(shared: Arc<Shared>, link: Arc<Link>, order: Order) {
    let mut unfinished = Unfinished {
        shared,
        order: Some(order.clone()),
    };
    send_until_answered(&unfinished.shared, &link, &order).await;
    unfinished.order = None;
}

async fn send_until_answered(shared: &Shared, link: &Link, order: &Order) {
    let lease = Duration::from_millis(order.request.lease_ms);
    let last_moment = shared
        .clock
        .now()
        .saturating_add(lease)
        .saturating_add(MEMORY);
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        match link
            .end(&order.name, &order.request, order.tombstone, Duration::MAX)
            .await
        {
            Ok(said) => {
                shared.tell_released(order, said.reply);
                if !said.again {
                    return;
                }
            }
            // What stands there is not ours any more, or never could be.
            Err(Failure {
                kind: FailureKind::WrongType | FailureKind::Unsupported,
                ..
            }) => return,
            Err(failure) if last_moment <= shared.clock.now() => {
                let name = order.name.as_str();
                shared.logger.log(&Event::LeftBehind {
                    name,
                    cause: &failure,
                });
                return;
            }
            Err(_) => tokio::time::sleep(backoff.next(chance::draw())).await,
        }
    }
}
