//! Clients with different key prefixes on one store.
#![expect(missing_docs, reason = "the name is the claim")]

use std::time::Duration;

use arbiter_lock::{Client, Error, Outcome};

use super::helpers::{free, queued, soon, spawn};
use super::stores::Store;

async fn listed(client: &Client) -> Vec<String> {
    let (mut list, mut names) = (client.list("*"), Vec::new());
    while let Some(lock) = list.next().await.expect("a list") {
        names.push(lock.name);
    }
    names.sort();
    names
}

pub async fn prefixes_keep_names_and_lists_apart(store: &Store) {
    let (a, b) = (store.client_of("a:").await, store.client_of("b:").await);
    let held = a.lock("job").acquire().await.expect("free");
    let first = a.lock("waited").acquire().await.expect("free");
    let lock = a.lock("waited");
    let waiter = spawn(async move { lock.acquire().await });
    queued(&a, "waited", 1).await;
    let same = b.lock("job").try_acquire().await.expect("an answer");
    let same = same.expect("free under this prefix");
    assert_ne!(held.owner(), same.owner());
    assert_eq!(listed(&b).await, ["job"]);
    assert_eq!(
        b.lock("waited").inspect().await.expect("a status").holder,
        None
    );
    free(first).await;
    let waited = soon(waiter).await;
    assert_eq!(listed(&a).await, ["job", "waited"]);
    for guard in [held, same, waited] {
        free(guard).await;
    }
    let job = a.once("nightly").every(Duration::from_secs(60));
    let ran = job.run(|_| async { Ok::<(), Error>(()) }).await;
    assert!(matches!(ran, Ok(Outcome::Ran(_))));
    let last = b.once("nightly").last_run().await.expect("an answer");
    assert!(last.is_none(), "{last:?}");
}

pub async fn lock_is_prefix_and_name_together(store: &Store) {
    let (long, short) = (store.client_of("a:b:").await, store.client_of("a:").await);
    let guard = long.lock("c").acquire().await.expect("free");
    let tried = short.lock("b:c").try_acquire().await.expect("an answer");
    assert!(tried.is_none());
    let lock = short.lock("b:c");
    let waiter = spawn(async move { lock.acquire().await });
    queued(&long, "c", 1).await;
    assert_eq!(
        (listed(&long).await, listed(&short).await),
        (vec!["c".to_owned()], vec!["b:c".to_owned()])
    );
    let before = guard.fence();
    free(guard).await;
    let guard = soon(waiter).await;
    assert!(before < guard.fence());
    let readers = (
        long.rw_lock("shared").read().await.expect("free"),
        short.rw_lock("b:shared").read().await.expect("free"),
    );
    let status = short.lock("b:shared").inspect().await.expect("a status");
    assert_eq!(status.sharing.map(|sharing| sharing.holders.len()), Some(2));
    for guard in [guard, readers.0, readers.1] {
        free(guard).await;
    }
}

pub async fn reserved_names_are_refused_under_every_prefix(store: &Store) {
    for (prefix, name) in [
        ("", "a#arbiter.queue"),
        ("", "#arbiter.wake.x"),
        ("x#arbi", "ter.run"),
        ("x#", "arbiter.last"),
    ] {
        let client = store.client_of(prefix).await;
        let calls = [
            client.lock(name).acquire().await.map(drop),
            client.lock(name).try_acquire().await.map(drop),
            client.lock(name).inspect().await.map(drop),
            client.rw_lock(name).read().await.map(drop),
            client.semaphore(name, 2).resize(3).await.map(drop),
            client.once(name).last_run().await.map(drop),
            client.lock_all(["free", name]).acquire().await.map(drop),
        ];
        for called in calls {
            let error = called.expect_err(name);
            assert!(matches!(error, Error::Invalid(_)), "{error}");
            let message = error.to_string();
            assert!(
                message.contains("must not contain '#arbiter.'"),
                "{message}"
            );
        }
        free(client.lock("arbiter").acquire().await.expect("free")).await;
    }
    for prefix in ["a b", "\u{2028}b", "a#arbiter.b"] {
        let error = store.builder_of(prefix).connect_lazy().expect_err(prefix);
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}
