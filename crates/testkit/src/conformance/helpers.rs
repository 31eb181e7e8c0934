//! Helpers of the conformance tests.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, RefusedKind};
use tokio::time::Instant;

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Other tests use the machine too.
pub(super) const SLACK: Duration = ms(200);

pub(super) async fn free(guard: Guard) {
    guard.release().await.expect("it was held to its end");
}

/// Waits until that many waiters are queued.
pub(super) async fn queued(client: &Client, name: &str, waiting: u64) {
    for _ in 0..500 {
        if client.lock(name).inspect().await.expect("a status").waiting == waiting {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never {waiting} waiting");
}

/// Acquires in a new task.
pub(super) fn spawn(
    acquiring: impl Future<Output = Result<Guard, Error>> + Send + 'static,
) -> tokio::task::JoinHandle<Guard> {
    tokio::spawn(async move { acquiring.await.expect("a hold") })
}

/// Returns the guard of a waiter that is granted at once.
pub(super) async fn soon(waiter: tokio::task::JoinHandle<Guard>) -> Guard {
    let guard = tokio::time::timeout(ms(800), waiter).await;
    guard.expect("it is granted at once").expect("a waiter")
}

/// Returns when a hold expires that was just granted under that lease and is not renewed.
pub(super) fn expiry(lease: Duration) -> Instant {
    Instant::now() + lease
}

/// Returns the guard of a waiter that is granted soon after that expiry, long before a regular
/// poll.
pub(super) async fn soon_after(expiry: Instant, waiter: tokio::task::JoinHandle<Guard>) -> Guard {
    let guard = tokio::time::timeout_at(expiry + ms(400), waiter).await;
    let early = expiry.saturating_duration_since(Instant::now());
    assert!(early < ms(100), "granted {early:?} before the expiry");
    guard
        .expect("granted soon after the expiry")
        .expect("a waiter")
}

/// Checks that the name can be locked within a second, when every pending release is done.
pub(super) async fn comes_free(client: &Client, name: &str) {
    let lock = client.lock(name).wait_timeout(ms(1_000));
    free(lock.acquire().await.expect("it was given back")).await;
}

pub(super) fn refusal(error: Error) -> RefusedKind {
    match error {
        Error::Refused(refused) => refused.kind,
        error => panic!("{error}"),
    }
}
