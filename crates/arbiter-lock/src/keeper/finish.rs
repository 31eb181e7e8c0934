//! Sends the end of a request until the store answers it.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Backoff;

use super::KeeperShared;
use crate::store::{Envelope, Failure, FailureKind, PendingRelease, StoreHandle};
use crate::system::rng;

/// How long the store remembers a request after its lease.
const MEMORY: Duration = Duration::from_secs(60);

/// Counts a pending release as unfinished until it is dropped.
///
/// If it is dropped with its runtime, the next task of the keeper takes the release over.
struct Unfinished {
    shared: Arc<KeeperShared>,
    is_release: bool,
    release: Option<PendingRelease>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let left = self.release.take();
        let is_left = left.is_some();
        self.shared.table().finished(self.is_release, left);
        self.shared.finished.notify_all();
        if is_left {
            // The next task may already sleep.
            self.shared.nudge.notify_one();
        }
    }
}

/// Sends the end until it is answered, or until the store has forgotten the request.
pub(super) async fn finish(
    shared: Arc<KeeperShared>,
    handle: Arc<StoreHandle>,
    release: PendingRelease,
) {
    let mut unfinished = Unfinished {
        shared,
        is_release: release.is_release(),
        release: Some(release.clone()),
    };
    send_until_answered(&unfinished.shared, &handle, &release).await;
    unfinished.release = None;
}

async fn send_until_answered(
    shared: &KeeperShared,
    handle: &StoreHandle,
    release: &PendingRelease,
) {
    let lease = Duration::from_millis(release.contender.lease_ms);
    let last_moment = shared
        .clock
        .now()
        .saturating_add(lease)
        .saturating_add(MEMORY);
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let request = release.request();
    loop {
        match handle.send(&release.name, &request, Duration::MAX).await {
            Ok(Envelope { reply, again, .. }) => {
                shared.report_released(release, reply);
                if !again {
                    return;
                }
            }
            // The key no longer holds a lock, or never can.
            Err(Failure {
                kind: FailureKind::WrongType | FailureKind::Unsupported,
                ..
            }) => return,
            Err(failure) if last_moment <= shared.clock.now() => {
                shared.events.left_behind(&release.name, failure);
                return;
            }
            Err(_) => tokio::time::sleep(backoff.next(rng::draw())).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    #[tokio::test(start_paused = true)]
    async fn sleeping_task_takes_over_pending_releases() {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        let shared = client.inner.keeper.shared.clone();
        let hold = &guard.hold().state;
        shared.table().post(PendingRelease {
            name: hold.name.clone(),
            contender: hold.contender.clone(),
            tombstone: false,
            held: None,
        });
        let release = shared.table().plan(Duration::ZERO, |_| 0).releases.pop();
        let begun = shared.clock.now();
        // The keeper finds nothing to do, and sleeps.
        for _ in 0..9 {
            tokio::task::yield_now().await;
        }
        drop(Unfinished {
            shared: shared.clone(),
            is_release: false,
            release,
        });
        for _ in 0..9 {
            tokio::task::yield_now().await;
        }
        assert!(!shared.table().has_releases());
        assert_eq!(shared.clock.now(), begun, "it was not its own time to wake");
    }
}
