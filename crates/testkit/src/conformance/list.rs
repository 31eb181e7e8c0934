//! Conformance tests of the list of locks.
#![expect(missing_docs, reason = "the name is the claim")]

use arbiter_lock::Client;

use super::Store;
use super::helpers::queued;

/// Returns the listed names, sorted, each once.
async fn listed(client: &Client, pattern: &str) -> Vec<String> {
    let mut locks = client.list(pattern);
    let mut names = Vec::new();
    while let Some(lock) = locks.next().await.expect("a list") {
        names.push(lock.name);
    }
    names.sort();
    names.dedup();
    names
}

pub async fn list_shows_what_is_held_or_waited_for(store: &Store) {
    let (client, other) = (store.client().await, store.client().await);
    assert!(listed(&client, "*").await.is_empty());
    let names = ["a*b", "a[b", "axb", "a{t}", "b}", "ä?"];
    let mut guards = Vec::new();
    for name in names {
        guards.push(client.lock(name).acquire().await.expect("free"));
    }
    let permits = client.semaphore("permits", 3).acquire_many(2).await;
    let waiter = tokio::spawn({
        let lock = other.lock("axb");
        async move { lock.acquire().await }
    });
    queued(&client, "axb", 1).await;
    let released = client.lock("released").acquire().await.expect("free");
    released.release().await.expect("held");

    let mut all: Vec<&str> = names.to_vec();
    all.push("permits");
    all.sort_unstable();
    assert_eq!(listed(&other, "*").await, all);
    assert_eq!(listed(&other, "a?b").await, ["a*b", "a[b", "axb"]);
    assert_eq!(listed(&other, "ä?").await, ["ä?"]);
    assert_eq!(listed(&other, "a[b").await, ["a[b"]);
    assert!(listed(&other, "a").await.is_empty());

    let mut locks = other.list("*");
    while let Some(lock) = locks.next().await.expect("a list") {
        let status = lock.status;
        assert_eq!(status.waiting, u64::from(lock.name == "axb"), "{status:?}");
        assert!(status.holder.is_some());
        let permits = status
            .sharing
            .map(|sharing| (sharing.weight, sharing.limit));
        let expected = (lock.name == "permits").then_some((2, Some(3)));
        assert_eq!(permits, expected);
    }
    drop((guards, permits));
    let granted = waiter.await.expect("a task").expect("a grant");
    granted.release().await.expect("held");
}

pub async fn list_of_many_pages_misses_none(store: &Store) {
    let client = store.client().await;
    let mut guards = Vec::new();
    for n in 0..1_100 {
        let lock = client.lock(&format!("job-{n:04}"));
        guards.push(lock.acquire().await.expect("free"));
    }
    let names = listed(&client, "job-*").await;
    assert_eq!(names.len(), guards.len());
    assert_eq!(listed(&client, "job-??99").await.len(), 11);
}
