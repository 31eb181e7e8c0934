//! Failures of the server: the client returns a typed error in time and leaves nothing half done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Event, Guard, LostReason, block_on};
use testkit::{Proxy, Server, Traffic, companion, eventually, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn key(name: &str) -> String {
    format!("arbiter:{name}")
}

fn queue(name: &str) -> String {
    companion(&key(name), "queue")
}

pub(crate) async fn held(server: &Server) -> (Client, String, Guard) {
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    let guard = client
        .lock(&name)
        .lease_time(ms(1_500))
        .acquire()
        .await
        .unwrap();
    (client, name, guard)
}

#[tokio::test]
async fn uncontended_cycle_is_two_commands() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let lock = client.lock(&unique_name());
    lock.acquire().await.unwrap().release().await.unwrap();
    let before = commands(&server);
    for _ in 0..100 {
        lock.acquire().await.unwrap().release().await.unwrap();
    }
    assert_eq!(commands(&server) - before, 200);
}

#[tokio::test]
async fn busy_try_is_one_command() {
    let server = Server::start();
    let (client, name, _guard) = held(&server).await;
    let lock = client.lock(&name);
    assert!(lock.try_acquire().await.unwrap().is_none());
    tokio::time::sleep(ms(100)).await;
    let before = commands(&server);
    for _ in 0..20 {
        assert!(lock.try_acquire().await.unwrap().is_none());
    }
    tokio::time::sleep(ms(100)).await;
    let renewals = 1;
    assert!(commands(&server) - before <= 20 + renewals);
}

/// Returns the number of commands sent by clients, without those of the test itself.
fn commands(server: &Server) -> u64 {
    let stats = server.call(&["INFO", "commandstats"]).text().unwrap();
    let calls = |line: &str| {
        let (_, rest) = line.strip_prefix("cmdstat_eval")?.split_once("calls=")?;
        rest.split(',').next()?.parse::<u64>().ok()
    };
    stats.lines().filter_map(calls).sum()
}

#[tokio::test]
async fn abandoned_acquire_arriving_late_leaves_nothing() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    server.call(&["CLIENT", "PAUSE", "1200", "WRITE"]);
    let begun = Instant::now();
    let error = client
        .lock(&name)
        .wait_timeout(ms(200))
        .acquire()
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(begun.elapsed() < ms(700));
    tokio::time::sleep(ms(2_200)).await;
    assert_eq!(server.call(&["EXISTS", &key(&name)]).int(), Some(0));
    assert!(client.lock(&name).try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn silent_server_ends_waits_and_is_found_again() {
    let server = Server::start();
    let client = Client::builder()
        .store(&server.url())
        .command_timeout(ms(300))
        .connect()
        .await
        .unwrap();
    let name = unique_name();
    acquire_and_release(&client.lock(&name)).await;
    server.stop();
    let begun = Instant::now();
    let error = client.lock(&name).try_acquire().await.unwrap_err();
    assert!(
        error.is_unavailable() && begun.elapsed() < ms(1_500),
        "{error}"
    );
    let begun = Instant::now();
    let error = client
        .lock(&name)
        .wait_timeout(ms(700))
        .acquire()
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(
        ms(650) < begun.elapsed() && begun.elapsed() < ms(1_400),
        "{:?}",
        begun.elapsed()
    );
    let error = client.lock(&name).inspect().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    server.cont();
    let guard = client
        .lock(&name)
        .wait_timeout(ms(5_000))
        .acquire()
        .await
        .unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn dropped_requests_find_a_silent_connection() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let is_found = Arc::new(AtomicBool::new(false));
    let found = is_found.clone();
    let logger = move |event: &Event| {
        found.fetch_or(
            matches!(event, Event::Disconnected { .. }),
            Ordering::Relaxed,
        );
    };
    let builder = Client::builder().store(&proxy.url()).logger(logger);
    let client = builder.connect().await.unwrap();
    let lock = client.lock(&unique_name());
    acquire_and_release(&lock).await;
    proxy.set_traffic(Traffic::Silent);
    let begun = Instant::now();
    while !is_found.load(Ordering::Relaxed) {
        assert!(
            begun.elapsed() < ms(5_000),
            "no caller waits for long enough"
        );
        assert!(tokio::time::timeout(ms(100), lock.inspect()).await.is_err());
    }
}

#[tokio::test]
async fn silent_server_loss_is_reported_before_the_deadline() {
    let server = Server::start();
    let (_client, _, guard) = held(&server).await;
    server.stop();
    let left = guard.remaining();
    let begun = Instant::now();
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    assert!(begun.elapsed() <= left + ms(100));
    server.cont();
    assert!(matches!(guard.release().await, Err(Error::Lost(_))));
}

#[tokio::test]
async fn unreachable_server_fails_at_once() {
    let mut server = Server::start();
    let (client, name, guard) = held(&server).await;
    let url = server.url();
    server.kill();
    let begun = Instant::now();
    assert!(
        client
            .lock(&name)
            .try_acquire()
            .await
            .unwrap_err()
            .is_unavailable()
    );
    assert!(Client::connect(&url).await.unwrap_err().is_unavailable());
    assert!(begun.elapsed() < ms(2_000));
    assert_eq!(guard.lost().await, LostReason::Unreachable);
}

#[tokio::test]
async fn deleted_or_taken_key_notifies_at_next_renewal() {
    let server = Server::start();
    let (_client, name, guard) = held(&server).await;
    server.call(&["DEL", &key(&name)]);
    assert_eq!(
        tokio::time::timeout(ms(1_400), guard.lost()).await,
        Ok(LostReason::Deleted)
    );
    let (_client, name, guard) = held(&server).await;
    server.call(&["HSET", &key(&name), "owner", "somebody"]);
    assert_eq!(
        tokio::time::timeout(ms(1_400), guard.lost()).await,
        Ok(LostReason::Taken)
    );
    drop(guard);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(
        server
            .call(&["HGET", &key(&name), "owner"])
            .text()
            .as_deref(),
        Some("somebody")
    );
}

#[tokio::test]
async fn restarted_server_grants_waiters_with_greater_fence() {
    let mut server = Server::start();
    let (client, name, guard) = held(&server).await;
    let fence = guard.fence();
    let waiter = tokio::spawn({
        let lock = client.lock(&name);
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(200)).await;
    server.restart();
    let next = tokio::time::timeout(ms(5_000), waiter)
        .await
        .unwrap()
        .unwrap();
    assert!(fence < next.fence());
    assert_ne!(guard.lost().await, LostReason::Released);
    next.release().await.unwrap();
}

#[tokio::test]
async fn waiters_keep_order_after_a_lost_queue() {
    let server = Server::start();
    let (client, name, guard) = held(&server).await;
    let mut waiters = tokio::task::JoinSet::new();
    for n in 0..6 {
        let lock = client.lock(&name);
        waiters.spawn(async move {
            let guard = lock.acquire().await.unwrap();
            (n, guard.fence())
        });
        while client.lock(&name).inspect().await.unwrap().waiting <= n {
            tokio::time::sleep(ms(5)).await;
        }
    }
    server.call(&["DEL", &queue(&name)]);
    tokio::time::sleep(ms(1_300)).await;
    guard.release().await.unwrap();
    let mut granted = waiters.join_all().await;
    granted.sort_by_key(|(_, fence)| *fence);
    assert!(granted.is_sorted(), "{granted:?}");
}

#[tokio::test]
async fn cut_connections_and_flushed_scripts_are_survived() {
    let server = Server::start();
    let (client, name, guard) = held(&server).await;
    let other = Client::connect(&server.url()).await.unwrap();
    let waiter = tokio::spawn({
        let lock = other.lock(&name);
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(200)).await;
    for _ in 0..8 {
        server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        server.call(&["SCRIPT", "FLUSH"]);
        tokio::time::sleep(ms(250)).await;
    }
    assert!(guard.is_held());
    guard.release().await.unwrap();
    let next = tokio::time::timeout(ms(1_500), waiter)
        .await
        .expect("it is granted")
        .unwrap();
    next.release().await.unwrap();
    drop(client);
}

#[test]
fn blocked_executor_does_not_lose_the_lock() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_client, _, guard) = held(&server).await;
        std::thread::sleep(ms(3_000));
        assert!(guard.is_held());
        guard.release().await.unwrap();
    });
}

#[test]
fn dropped_runtime_neither_loses_nor_leaks_the_lock() {
    let server = Server::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, name, guard) = runtime.block_on(held(&server));
    drop(runtime);
    std::thread::sleep(ms(2_000));
    assert!(guard.is_held());
    drop(guard);
    assert!(eventually(ms(1_000), || server
        .call(&["EXISTS", &key(&name)])
        .int()
        == Some(0)));
    let again = block_on(client.lock(&name).acquire()).unwrap();
    block_on(again.release()).unwrap();
}

#[test]
fn dropped_client_leaves_no_connection() {
    let server = Server::start();
    let connections = || {
        server
            .call(&["CLIENT", "LIST"])
            .text()
            .unwrap()
            .lines()
            .count()
    };
    let before = connections();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for _ in 0..5 {
        runtime.block_on(async {
            let (_client, _, guard) = held(&server).await;
            drop(guard);
        });
    }
    // Dropped connections close only while their runtime runs.
    runtime.block_on(async { tokio::time::sleep(ms(20)).await });
    assert!(
        eventually(ms(2_000), || connections() <= before),
        "{} {before}",
        connections()
    );
}
