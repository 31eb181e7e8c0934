//! Conformance tests of several names together.
#![expect(missing_docs, reason = "the name is the claim")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, LostReason};

use super::Store;
use super::helpers::{SLACK, comes_free, free, ms, queued};

async fn is_free(client: &Client, name: &str) -> bool {
    let status = client.lock(name).inspect().await;
    !status.expect("a status").is_held()
}

pub async fn names_are_acquired_once_in_byte_order(store: &Store) {
    let client = store.client().await;
    let names = ["b", "a", "B", "b", "aa"];
    let all = client.lock_all(names).acquire().await.expect("all");
    let taken: Vec<_> = all.guards().iter().map(|guard| guard.name()).collect();
    assert_eq!(taken, ["B", "a", "aa", "b"]);
    assert!(all.is_held() && ms(20_000) < all.remaining());
    for guard in all.guards() {
        assert_eq!(all.fence(guard.name()), Some(guard.fence()));
        let tried = client.lock(guard.name()).try_acquire().await;
        assert!(tried.expect("a try").is_none());
    }
    assert_eq!(all.fence("c"), None);
    all.release().await.expect("they were held to their end");
    for name in names {
        assert!(is_free(&client, name).await);
    }
}

pub async fn opposite_orders_never_deadlock(store: &Store) {
    let clients = [store.client().await, store.client().await];
    let orders = [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]];
    let inside = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for n in 0..6 {
        let all = clients[n % 2].lock_all(orders[n % 3]);
        let inside = inside.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let guards = all.acquire().await.expect("all");
                assert!(!inside.swap(true, Ordering::SeqCst), "two holders");
                tokio::task::yield_now().await;
                inside.store(false, Ordering::SeqCst);
                guards.release().await.expect("they were held to their end");
            }
        }));
    }
    let done = async {
        for task in tasks {
            task.await.expect("a worker");
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(20), done).await;
    done.expect("they wait for each other");
}

pub async fn timeout_releases_every_acquired_name(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let first = a.lock("a").acquire().await.expect("the lock");
    let second = a.lock("b").acquire().await.expect("the lock");
    let all = b.lock_all(["c", "b", "a"]).wait_timeout(ms(400));
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { all.acquire().await });
    tokio::time::sleep(ms(200)).await;
    free(first).await;
    let error = waiting.await.expect("a task").expect_err("one is held");
    let waited = begun.elapsed();
    assert!(ms(400) <= waited && waited <= ms(450) + SLACK, "{waited:?}");
    assert!(error.is_contended() && error.name() == Some("b"), "{error}");
    comes_free(&a, "a").await;
    queued(&a, "b", 0).await;
    assert!(is_free(&a, "c").await, "its turn never came");
    free(second).await;
    comes_free(&a, "b").await;
}

pub async fn dropped_wait_releases_acquired_names(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let held = a.lock("b").acquire().await.expect("the lock");
    let all = b.lock_all(["a", "b"]);
    let waiting = tokio::spawn(async move { all.acquire().await });
    queued(&a, "b", 1).await;
    assert!(!is_free(&a, "a").await);
    waiting.abort();
    comes_free(&a, "a").await;
    queued(&a, "b", 0).await;
    free(held).await;
    let both = b.lock_all(["a", "b"]).acquire().await.expect("both");
    drop(both);
    comes_free(&a, "a").await;
    comes_free(&a, "b").await;
}

pub async fn loss_during_the_wait_ends_it(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let held = a.lock("b").acquire().await.expect("the lock");
    let all = b.lock_all(["a", "b"]).max_hold(ms(200));
    let waiting = tokio::spawn(async move { all.acquire().await });
    queued(&a, "b", 1).await;
    let error = tokio::time::timeout(ms(2_000), waiting).await;
    let error = error.expect("it waits for a lock that it cannot use");
    let error = error.expect("a task").expect_err("one is lost");
    assert!(error.name() == Some("a"), "{error}");
    assert!(matches!(error, Error::Lost(loss) if loss.reason == LostReason::MaxHold));
    queued(&a, "b", 0).await;
    comes_free(&a, "a").await;
    free(held).await;
}

pub async fn try_takes_all_or_none(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let held = a.lock("b").acquire().await.expect("the lock");
    let all = b.lock_all(["a", "b", "c"]);
    assert!(all.try_acquire().await.expect("a try").is_none());
    let zero = all.clone().wait_timeout(Duration::ZERO).acquire().await;
    assert!(zero.expect_err("one is held").is_contended());
    comes_free(&a, "a").await;
    assert!(is_free(&a, "c").await);
    free(held).await;
    let guards = all.try_acquire().await.expect("a try").expect("all");
    guards.release().await.expect("they were held to their end");
}

pub async fn first_loss_is_reported_and_others_are_released(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let all = a.lock_all(["a", "b", "c"]).lease_time(ms(900));
    let guards = all.acquire().await.expect("all");
    let lost = guards.lost();
    let fence = guards.fence("b").expect("a fence");
    assert!(b.lock("b").break_now(fence).await.expect("an answer"));
    let loss = tokio::time::timeout(ms(1_500), lost).await;
    let loss = loss.expect("it is reported at the next renewal");
    assert_eq!(loss.name, "b");
    assert_eq!(loss.reason, LostReason::Deleted);
    assert!(!guards.is_held() && guards.remaining().is_zero());
    let error = guards.release().await.expect_err("one was lost");
    assert!(error.is_lost() && error.name() == Some("b"), "{error}");
    assert!(is_free(&b, "a").await && is_free(&b, "c").await);
}

pub async fn one_lost_name_drops_the_work(store: &Store) {
    let client = store.client().await;
    let all = client.lock_all(["a", "b"]);
    let held = all.run(|holds| async move { holds.iter().all(|hold| hold.is_held()) });
    assert!(held.await.expect("the work"));
    assert!(is_free(&client, "a").await && is_free(&client, "b").await);
    let all = all.max_hold(ms(200));
    let lost = all.run(|_| std::future::pending::<()>()).await;
    assert!(lost.expect_err("it was lost").is_lost());
    comes_free(&client, "a").await;
    comes_free(&client, "b").await;
}

pub async fn bad_names_are_refused_before_acquiring(store: &Store) {
    let client = store.client().await;
    let none: [&str; 0] = [];
    let long = "x".repeat(513);
    for names in [none.to_vec(), vec!["a", ""], vec!["a", &long]] {
        let error = client.lock_all(names).acquire().await;
        let error = error.expect_err("no such name");
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    assert!(
        client
            .lock("a")
            .inspect()
            .await
            .expect("a status")
            .holder
            .is_none()
    );
}
