//! What the claims do again and again.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, RefusedKind};
use tokio::time::Instant;

pub(super) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Other tests want the machine too.
pub(super) const SLACK: Duration = ms(200);

pub(super) async fn free(guard: Guard) {
    guard.release().await.expect("it was held to its end");
}

/// Waits until so many wait.
pub(super) async fn queued(client: &Client, name: &str, waiting: u64) {
    for _ in 0..500 {
        if client.lock(name).inspect().await.expect("a status").waiting == waiting {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never {waiting} waiting");
}

/// Does it in a task of its own.
pub(super) fn spawn(
    acquiring: impl Future<Output = Result<Guard, Error>> + Send + 'static,
) -> tokio::task::JoinHandle<Guard> {
    tokio::spawn(async move { acquiring.await.expect("a hold") })
}

/// The guard of a waiter that was told at once.
pub(super) async fn soon(waiter: tokio::task::JoinHandle<Guard>) -> Guard {
    let guard = tokio::time::timeout(ms(800), waiter).await;
    guard.expect("it was told at once").expect("a waiter")
}

/// When a hold expires that was just granted under that lease and is not renewed.
pub(super) fn expiry(lease: Duration) -> Instant {
    Instant::now() + lease
}

/// The guard of a waiter that was granted soon after that expiry: long before an ordinary poll.
pub(super) async fn soon_after(expiry: Instant, waiter: tokio::task::JoinHandle<Guard>) -> Guard {
    let guard = tokio::time::timeout_at(expiry + ms(400), waiter).await;
    let early = expiry.saturating_duration_since(Instant::now());
    assert!(early < ms(100), "granted {early:?} before the expiry");
    guard
        .expect("granted soon after the expiry")
        .expect("a waiter")
}

/// Whether it can be held alone within a second: whatever was left is undone by then.
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
