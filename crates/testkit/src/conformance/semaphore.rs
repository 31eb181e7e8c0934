//! Conformance tests of the semaphore.
#![expect(missing_docs, reason = "the name is the claim")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arbiter_lock::{Error, RefusedKind};

use super::Store;
use super::helpers::{comes_free, expiry, free, ms, queued, refusal, soon, soon_after, spawn};

pub async fn permits_never_exceed_the_limit(store: &Store) {
    const LIMIT: u32 = 5;
    let clients = [store.client().await, store.client().await];
    let (held, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for n in 0..8_u32 {
        let semaphore = clients[n as usize % 2].semaphore("s", LIMIT);
        let (held, most) = (held.clone(), most.clone());
        tasks.push(tokio::spawn(async move {
            for turn in 0..15 {
                let weight = 1 + (n + turn) % LIMIT;
                let guard = semaphore.acquire_many(weight).await.expect("permits");
                let now = held.fetch_add(weight, Ordering::SeqCst) + weight;
                assert!(now <= LIMIT, "{now} are held");
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(ms(2)).await;
                held.fetch_sub(weight, Ordering::SeqCst);
                free(guard).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a worker");
    }
    assert_eq!(most.load(Ordering::SeqCst), LIMIT, "all are of use");
    comes_free(&clients[0], "s").await;
}

pub async fn large_request_at_head_is_not_overtaken(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let first = a.semaphore("s", 3).acquire_many(2).await.expect("permits");
    let semaphore = b.semaphore("s", 3);
    let large = spawn(async move { semaphore.acquire_many(3).await });
    queued(&a, "s", 1).await;
    let small = a.semaphore("s", 3).try_acquire().await.expect("a try");
    assert!(small.is_none(), "a try barges");
    let semaphore = a.semaphore("s", 3);
    let small = spawn(async move { semaphore.acquire().await });
    queued(&a, "s", 2).await;
    free(first).await;
    let large = soon(large).await;
    assert!(!small.is_finished());
    free(large).await;
    free(soon(small).await).await;
}

pub async fn different_limit_is_refused_with_both_numbers(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = a.semaphore("s", 3).acquire().await.expect("a permit");
    let other = b.semaphore("s", 5);
    let tried = other.try_acquire().await.expect_err("another limit");
    let acquired = other.acquire().await.expect_err("another limit");
    for error in [tried, acquired] {
        let words = error.to_string();
        assert!(
            words.contains("a limit of 5 was asked for") && words.contains("a limit of 3 is"),
            "{words}"
        );
        let expected = RefusedKind::LimitDiffers {
            asked: Some(5),
            in_force: Some(3),
        };
        assert_eq!(refusal(error), expected);
    }
    queued(&a, "s", 0).await;
    free(guard).await;
    free(other.acquire().await.expect("its limit is the first now")).await;
}

pub async fn weight_above_limit_is_refused_with_both_numbers(store: &Store) {
    let client = store.client().await;
    let expected = RefusedKind::AboveLimit { asked: 4, limit: 3 };
    let semaphore = client.semaphore("s", 3);
    let error = semaphore.acquire_many(4).await.expect_err("too many");
    let words = error.to_string();
    assert!(
        words.contains("4 permits") && words.contains("the limit is 3"),
        "{words}"
    );
    assert_eq!(refusal(error), expected);
    let guard = semaphore.acquire().await.expect("a permit");
    let follower = client.semaphore("s", 9).follow_limit();
    let acquired = follower.acquire_many(4).await.expect_err("too many");
    let tried = follower.try_acquire_many(4).await.expect_err("too many");
    assert_eq!(refusal(acquired), expected);
    assert_eq!(refusal(tried), expected);
    queued(&client, "s", 0).await;
    free(guard).await;
}

pub async fn zero_permits_are_invalid(store: &Store) {
    let client = store.client().await;
    let semaphore = client.semaphore("s", 3);
    let errors = [
        client.semaphore("s", 0).acquire().await.expect_err("none"),
        semaphore.acquire_many(0).await.expect_err("none"),
        semaphore.try_acquire_many(0).await.expect_err("none"),
        semaphore.resize(0).await.expect_err("none"),
    ];
    for error in errors {
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

pub async fn larger_limit_admits_waiters(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let semaphore = a.semaphore("s", 1).follow_limit();
    let unheld = semaphore.resize(7).await.expect("an answer");
    assert_eq!(unheld, None, "it is free");
    let first = semaphore.acquire().await.expect("a permit");
    let mut waiters = Vec::new();
    for n in 1..=3 {
        let semaphore = b.semaphore("s", 1).follow_limit();
        waiters.push(spawn(async move { semaphore.acquire().await }));
        queued(&a, "s", n).await;
    }
    let before = semaphore.resize(3).await.expect("an answer");
    assert_eq!(before, Some(1));
    let last = waiters.pop().expect("three");
    let mut guards = vec![first];
    for waiter in waiters {
        guards.push(soon(waiter).await);
    }
    assert!(!last.is_finished(), "there are three");
    for guard in guards {
        free(guard).await;
    }
    free(soon(last).await).await;
}

pub async fn smaller_limit_refuses_larger_waiters(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let semaphore = a.semaphore("s", 3).follow_limit();
    let first = semaphore.acquire_many(2).await.expect("permits");
    let second = semaphore.acquire().await.expect("a permit");
    let follower = b.semaphore("s", 3).follow_limit();
    let large = tokio::spawn(async move { follower.acquire_many(3).await });
    queued(&a, "s", 1).await;
    assert_eq!(semaphore.resize(2).await.expect("an answer"), Some(3));
    let error = large.await.expect("a task").expect_err("there are two");
    let expected = RefusedKind::AboveLimit { asked: 3, limit: 2 };
    assert_eq!(refusal(error), expected);
    queued(&a, "s", 0).await;
    free(second).await;
    let tried = semaphore.try_acquire().await.expect("a try");
    assert!(tried.is_none(), "two are held, and there are two");
    free(first).await;
    free(semaphore.acquire_many(2).await.expect("permits")).await;
}

pub async fn follower_takes_the_limit_in_force(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = a.semaphore("s", 2).acquire().await.expect("a permit");
    let follower = b.semaphore("s", 9).follow_limit();
    let second = follower.acquire().await.expect("a permit");
    assert!(follower.try_acquire().await.expect("a try").is_none());
    free(guard).await;
    free(second).await;
    let first = follower.acquire().await.expect("a permit");
    let status = b.lock("s").inspect().await.expect("a status");
    let limit = status.sharing.expect("a holder").limit;
    assert_eq!(limit, Some(9), "its own, where there was none");
    free(first).await;
}

pub async fn dropped_permit_is_returned(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = a.semaphore("s", 2).acquire_many(2).await.expect("permits");
    let semaphore = b.semaphore("s", 2);
    let waiter = spawn(async move { semaphore.acquire().await });
    queued(&a, "s", 1).await;
    drop(guard);
    let guard = soon(waiter).await;
    let second = b.semaphore("s", 2).wait_timeout(ms(1_000)).acquire().await;
    drop((guard, second.expect("a permit")));
    comes_free(&a, "s").await;
}

pub async fn permits_of_dead_holders_return_exactly_once(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let dying = a.semaphore("s", 2).lease_time(ms(400)).watchdog(false);
    std::mem::forget(dying.acquire().await.expect("a permit"));
    let late = dying.acquire().await.expect("a permit");
    let semaphore = b.semaphore("s", 2).wait_timeout(ms(2_000));
    let both = semaphore.acquire_many(2).await.expect("both come back");
    let error = late.release().await.expect_err("it is over");
    assert!(error.is_lost(), "{error}");
    tokio::time::sleep(ms(200)).await;
    let tried = semaphore.try_acquire().await.expect("a try");
    assert!(tried.is_none(), "the late release gave permits back twice");
    free(both).await;
    let one = semaphore.acquire().await.expect("a permit");
    let other = semaphore.acquire().await.expect("a permit");
    assert!(semaphore.try_acquire().await.expect("a try").is_none());
    free(one).await;
    free(other).await;
}

pub async fn dead_permit_returns_beside_renewed_ones(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let living = a.semaphore("s", 2).lease_time(ms(600));
    let living = living.acquire().await.expect("a permit");
    let dying = a.semaphore("s", 2).lease_time(ms(400)).watchdog(false);
    std::mem::forget(dying.acquire().await.expect("a permit"));
    let semaphore = b.semaphore("s", 2).wait_timeout(ms(3_000));
    let next = semaphore.acquire().await.expect("that of the dead");
    assert!(living.is_held(), "the others still hold");
    assert!(semaphore.try_acquire().await.expect("a try").is_none());
    let sharing = semaphore.inspect().await.expect("a status").sharing;
    let sharing = sharing.expect("two hold");
    assert_eq!((sharing.weight, sharing.count), (2, 2));
    free(living).await;
    free(next).await;
}

pub async fn expired_permit_is_granted_at_once(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let renewed = a.semaphore("s", 2).acquire().await.expect("a permit");
    let dying = a.semaphore("s", 2).lease_time(ms(1_300)).watchdog(false);
    let dying = dying.acquire().await.expect("a permit");
    let expires = expiry(ms(1_300));
    let semaphore = b.semaphore("s", 2);
    let waiter = spawn(async move { semaphore.acquire().await });
    let guard = soon_after(expires, waiter).await;
    assert!(renewed.is_held() && !dying.is_held());
    free(guard).await;
    free(renewed).await;
}

pub async fn each_expired_permit_is_granted_at_once(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let renewed = a.semaphore("s", 7).acquire().await.expect("a permit");
    let (mut expiries, mut dead) = (Vec::new(), Vec::new());
    for n in 0..6 {
        let lease = ms(1_400 + 40 * n);
        let dying = a.semaphore("s", 7).lease_time(lease).watchdog(false);
        dead.push(dying.acquire().await.expect("a permit"));
        expiries.push(expiry(lease));
    }
    let mut waiters = Vec::new();
    for n in 1..=6 {
        let semaphore = b.semaphore("s", 7);
        waiters.push(spawn(async move { semaphore.acquire().await }));
        queued(&a, "s", n).await;
    }
    let mut guards = vec![renewed];
    for (expires, waiter) in expiries.into_iter().zip(waiters) {
        guards.push(soon_after(expires, waiter).await);
    }
    for guard in guards {
        free(guard).await;
    }
}

pub async fn last_needed_permit_is_granted_at_once(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let renewed = a.semaphore("s", 3).acquire().await.expect("a permit");
    let mut last = None;
    for lease in [ms(1_200), ms(1_350)] {
        let dying = a.semaphore("s", 3).lease_time(lease).watchdog(false);
        let dead = dying.acquire().await.expect("a permit");
        last = Some((expiry(lease), dead));
    }
    let semaphore = b.semaphore("s", 3);
    let waiter = spawn(async move { semaphore.acquire_many(2).await });
    let (expires, dead) = last.expect("two");
    free(soon_after(expires, waiter).await).await;
    assert!(!dead.is_held());
    free(renewed).await;
}

pub async fn expired_permit_skips_a_departed_waiter(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let renewed = a.semaphore("s", 2).acquire().await.expect("a permit");
    let dying = a.semaphore("s", 2).lease_time(ms(500)).watchdog(false);
    let dead = dying.acquire().await.expect("a permit");
    let expires = expiry(ms(500));
    let semaphore = b.semaphore("s", 2).wait_timeout(ms(200));
    let leaves = tokio::spawn(async move { semaphore.acquire().await });
    queued(&a, "s", 1).await;
    let semaphore = b.semaphore("s", 2);
    let waiter = spawn(async move { semaphore.acquire().await });
    queued(&a, "s", 2).await;
    let error = leaves.await.expect("a task").expect_err("all are held");
    assert!(error.is_contended(), "{error}");
    free(soon_after(expires, waiter).await).await;
    assert!(!dead.is_held());
    free(renewed).await;
}

pub async fn inspect_shows_limit_and_holders(store: &Store) {
    let client = store.client().await;
    let semaphore = client.semaphore("s", 5);
    let two = semaphore.acquire_many(2).await.expect("permits");
    let one = semaphore.acquire().await.expect("a permit");
    let status = semaphore.inspect().await.expect("a status");
    let sharing = status.sharing.expect("holders");
    assert_eq!(sharing.limit, Some(5));
    assert_eq!((sharing.weight, sharing.count), (3, 2));
    let weight_of = |owner: &str| {
        let mut holders = sharing.holders.iter();
        let sharer = holders.find(|sharer| sharer.holder.owner == owner);
        sharer.map(|sharer| sharer.weight)
    };
    assert_eq!(weight_of(two.owner()), Some(2));
    assert_eq!(weight_of(one.owner()), Some(1));
    free(two).await;
    free(one).await;
}
