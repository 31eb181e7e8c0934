//! What the claims do again and again.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, RefusedKind};

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
