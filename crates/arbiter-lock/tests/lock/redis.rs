//! The lock on a real Redis server.

use std::time::Duration;

use arbiter_lock::Client;
use testkit::{Server, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn released_lock_leaves_only_its_last_fence() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    let first = client.lock(&name).acquire().await.unwrap();
    assert!(client.lock(&name).try_acquire().await.unwrap().is_none());
    let fence = first.fence();
    first.release().await.unwrap();
    let second = client.lock(&name).acquire().await.unwrap();
    assert!(fence < second.fence());
    second.release().await.unwrap();
    let keys = server.keys();
    assert!(
        keys.len() == 1 && keys[0].starts_with("arbiter.last"),
        "{keys:?}"
    );
}

#[tokio::test]
async fn release_grants_the_next_and_it_is_claimed() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    let guard = client.lock(&name).acquire().await.unwrap();
    let waiter = tokio::spawn({
        let lock = client.lock(&name);
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(50)).await;
    assert_eq!(client.lock(&name).inspect().await.unwrap().waiting, 1);
    guard.release().await.unwrap();
    let guard = tokio::time::timeout(ms(500), waiter)
        .await
        .unwrap()
        .unwrap();
    tokio::time::sleep(ms(2_500)).await;
    assert!(guard.is_held(), "the first life was claimed");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn list_shows_names_that_are_only_waited_for() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    for name in ["plain", "a{b}c", "a}b"] {
        let lock = client.lock(name);
        let guard = lock.acquire().await.unwrap();
        let waiters = crate::in_line(&lock, 1, || lock.acquire()).await;
        server.call(&["DEL", &format!("arbiter:{name}")]);
        let mut locks = client.list(name);
        let listed = locks.next().await.unwrap().unwrap();
        assert_eq!((listed.name.as_str(), listed.status.waiting), (name, 1));
        assert!(listed.status.holder.is_none());
        assert_eq!(locks.next().await.unwrap(), None);
        drop((waiters, guard));
    }
    // Other programs' keys are none of ours.
    server.call(&["SET", "arbiter:text", "x"]);
    server.call(&["HSET", "arbiter:hash", "field", "x"]);
    server.call(&["HSET", "other:hash", "owner", "x"]);
    let locks = client.list("*hash*").next().await.unwrap();
    assert_eq!(locks, None);
}
