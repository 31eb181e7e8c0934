//! The health of a client, on stores that answer and stores that do not.

use std::time::Duration;

use arbiter_lock::{Client, NoopLogger, StoreHealth, block_on};
use testkit::{Server, eventually, eventually_async, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn health_counts_holds_waiters_and_silence() {
    let client = Client::in_memory();
    let health = client.health();
    assert!(matches!(health.store, StoreHealth::Unused) && health.is_ready());
    let guard = client.lock("l").acquire().await.unwrap();
    let lock = client.lock("l");
    let waiter = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(300)).await;
    let health = client.health();
    assert_eq!((health.holds, health.waiters), (1, 1));
    assert!(matches!(
        health.store,
        StoreHealth::Serving { answered } if answered == ms(300)
    ));
    client.testing().go_silent();
    tokio::time::sleep(ms(5_000)).await; // the waiter polls
    let health = client.health();
    assert!(!health.is_ready());
    assert!(matches!(
        &health.store,
        StoreHealth::Failing { since, cause }
            if ms(2_000) < *since && *since < ms(5_000) && cause.to_string().contains("not answer")
    ));
    drop(guard);
    tokio::time::sleep(ms(100)).await;
    assert_eq!(client.health().unconfirmed_releases, 1);
    let text = client.health().to_string();
    assert!(text.starts_with("the store has failed for"), "{text}");
    assert!(text.contains("1 waiters, 1 unconfirmed"), "{text}");
    client.testing().answer();
    drop(waiter.await.unwrap().unwrap());
    assert!(client.health().is_ready());
    client.shutdown(ms(5_000)).await;
    let health = client.health();
    assert!(health.is_closed && !health.is_ready());
    assert_eq!((health.holds, health.waiters), (0, 0));
    assert_eq!(health.unconfirmed_releases, 0);
}

#[tokio::test]
async fn health_reports_a_stopped_server() {
    let server = Server::start();
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    let client = builder.connect().await.unwrap();
    assert!(matches!(client.health().store, StoreHealth::Serving { .. }));
    let lock = client.lock(&unique_name()).lease_time(ms(900));
    let guard = lock.acquire().await.unwrap();
    drop(server);
    let is_failing = eventually_async(ms(5_000), || {
        matches!(client.health().store, StoreHealth::Failing { .. })
    });
    assert!(is_failing.await, "{}", client.health());
    guard.lost().await;
    assert!(!client.health().is_ready());
}

#[test]
fn health_needs_no_runtime() {
    let client = Client::in_memory();
    let guard = block_on(client.lock("l").acquire()).unwrap();
    assert_eq!(client.health().holds, 1);
    drop(guard);
    assert!(eventually(ms(2_000), || client.health().holds == 0));
}
