//! The lock on a real Redis server.

use std::collections::BTreeSet;
use std::time::Duration;

use arbiter_lock::Client;
use testkit::{Server, companion_kind, unique_name};

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
        keys.len() == 1 && companion_kind(&keys[0]) == Some("last"),
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

/// Creates more locks than a page of a list has.
fn create_locks(server: &Server) {
    let script = "for n = 1, 2500 do redis.call('HSET', 'arbiter:' .. n, 'owner', 'x') end";
    server.call(&["EVAL", script, "0"]);
}

#[tokio::test]
async fn list_across_a_restart_misses_no_name() {
    let mut server = Server::start();
    create_locks(&server);
    let client = Client::connect(&server.url()).await.unwrap();
    let mut locks = client.list("*");
    let first = locks.next().await.unwrap().unwrap();
    let mut names = BTreeSet::from([first.name]);
    // The new process has another order of keys.
    server.restart();
    create_locks(&server);
    let mut errors = 0;
    loop {
        match locks.next().await {
            Ok(Some(listed)) => _ = names.insert(listed.name),
            Ok(None) => break,
            Err(error) => {
                errors += 1;
                assert!(error.is_unavailable() && errors < 10, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    assert_eq!(names.len(), 2_500);
}

#[tokio::test]
async fn list_that_begins_again_and_again_fails() {
    let server = Server::start();
    create_locks(&server);
    let client = Client::connect(&server.url()).await.unwrap();
    let mut locks = client.list("*");
    let mut listed = 0;
    let error = loop {
        match locks.next().await {
            Ok(Some(_)) => listed += 1,
            Ok(None) => panic!("{listed} were listed"),
            Err(error) if error.to_string().contains("incomplete") => break error,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(listed < 20_000, "it never fails");
        if listed % 100 == 0 {
            server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
    };
    assert!(error.is_unavailable(), "{error}");
    // Called again, it begins again.
    let mut names = BTreeSet::new();
    loop {
        match locks.next().await {
            Ok(Some(listed)) => _ = names.insert(listed.name),
            Ok(None) => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    assert_eq!(names.len(), 2_500);
}
