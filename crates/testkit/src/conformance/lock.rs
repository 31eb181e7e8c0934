//! Conformance tests of the lock.
#![expect(missing_docs, reason = "the name is the claim")]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Asked, Error, LostReason};

use super::Store;
use super::exclusive::{take, wait};
use super::helpers::{SLACK, free, ms, queued};
use crate::eventually_async;

pub async fn waiters_are_granted_in_order_with_rising_fences(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let first = take(&store.lock(&a, "l")).await;
    let order = Arc::new(Mutex::new(vec![(0, first.fence())]));
    let mut tasks = Vec::new();
    for n in 1..=8_u64 {
        let lock = if n % 2 == 0 {
            store.lock(&a, "l")
        } else {
            store.lock(&b, "l")
        };
        let order = order.clone();
        tasks.push(tokio::spawn(async move {
            let guard = take(&lock).await;
            order.lock().expect("order").push((n, guard.fence()));
            tokio::time::sleep(ms(5)).await;
            free(guard).await;
        }));
        queued(&a, "l", n).await;
    }
    free(first).await;
    for task in tasks {
        task.await.expect("a waiter");
    }
    let order = order.lock().expect("order").clone();
    let numbers: Vec<u64> = order.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, (0..=8).collect::<Vec<_>>());
    assert!(order.windows(2).all(|w| w[0].1 < w[1].1), "{order:?}");
}

pub async fn tasks_never_overlap_and_lose_no_update(store: &Store) {
    const CYCLES: u64 = 40;
    let clients = [store.client().await, store.client().await];
    let (inside, sum) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let last = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let lock = store.lock(&clients[n % 2], "l");
        let (inside, sum, last) = (inside.clone(), sum.clone(), last.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..CYCLES {
                let guard = take(&lock).await;
                assert!(!inside.swap(true, Ordering::SeqCst), "two holders");
                assert!(last.swap(guard.fence(), Ordering::SeqCst) < guard.fence());
                let seen = sum.load(Ordering::SeqCst);
                tokio::task::yield_now().await;
                sum.store(seen + 1, Ordering::SeqCst);
                assert!(inside.swap(false, Ordering::SeqCst), "two holders");
                free(guard).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a worker");
    }
    assert_eq!(sum.load(Ordering::SeqCst), 8 * CYCLES);
}

pub async fn release_grants_the_next_and_it_is_claimed(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = take(&store.lock(&a, "l")).await;
    let waiter = wait(store.lock(&b, "l"));
    queued(&a, "l", 1).await;
    free(guard).await;
    let guard = tokio::time::timeout(ms(500), waiter).await;
    let guard = guard.expect("it is granted at once").expect("a waiter");
    tokio::time::sleep(ms(2_500)).await;
    assert!(guard.is_held(), "the grant was claimed");
    free(guard).await;
}

pub async fn renewed_hold_outlives_its_lease(store: &Store) {
    let client = store.client().await;
    let guard = take(&store.lock(&client, "l").lease_time(ms(900))).await;
    tokio::time::sleep(ms(3_600)).await;
    assert!(guard.is_held());
    assert!(
        store
            .lock(&client, "l")
            .try_acquire()
            .await
            .expect("a try")
            .is_none()
    );
    free(guard).await;
}

pub async fn hold_without_watchdog_ends_with_its_lease(store: &Store) {
    let client = store.client().await;
    let begun = Instant::now();
    let guard = take(&store.lock(&client, "l").lease_time(ms(400)).watchdog(false)).await;
    assert_eq!(guard.lost().await, LostReason::Expired);
    assert!(begun.elapsed() <= ms(450) + SLACK, "{:?}", begun.elapsed());
    let error = guard.release().await.expect_err("it was lost");
    assert!(matches!(error, Error::Lost(loss) if loss.reason == LostReason::Expired));
}

pub async fn expiry_wakes_the_next_waiter(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let begun = Instant::now();
    let guard = take(&store.lock(&a, "l").lease_time(ms(400)).watchdog(false)).await;
    let next = take(&store.lock(&b, "l")).await;
    assert!(ms(390) <= begun.elapsed() && begun.elapsed() < ms(1_600));
    assert!(!guard.is_held() && guard.fence() < next.fence());
    free(next).await;
}

pub async fn refresh_extends_a_hold(store: &Store) {
    let client = store.client().await;
    let guard = take(&store.lock(&client, "l").lease_time(ms(600)).watchdog(false)).await;
    for _ in 0..4 {
        tokio::time::sleep(ms(300)).await;
        guard.refresh().await.expect("a refresh");
    }
    assert!(guard.is_held());
    free(guard).await;
}

pub async fn timed_out_wait_names_holder_and_leaves_queue(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = take(&store.lock(&a, "l").label("the holder")).await;
    let begun = Instant::now();
    let error = store.lock(&b, "l").wait_timeout(ms(250)).acquire().await;
    let error = error.expect_err("another client holds it");
    assert!(ms(250) <= begun.elapsed() && begun.elapsed() <= ms(300) + SLACK);
    let words = error.to_string();
    assert!(words.starts_with("lock 'l' is held by "), "{words}");
    assert!(words.contains("the holder") && words.ends_with("your place in the queue was 1"));
    let Error::Contended(contended) = error else {
        panic!("{error}")
    };
    let holder = contended.holder.expect("a holder");
    assert_eq!(holder.fence, Some(guard.fence()));
    assert!(holder.owner == guard.owner() || holder.is_shared());
    assert!(holder.remaining.expect("an end") <= ms(30_000));
    queued(&a, "l", 0).await;
    free(guard).await;
}

pub async fn busy_try_leaves_nothing_and_never_overtakes(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = take(&store.lock(&a, "l")).await;
    assert!(
        store
            .lock(&b, "l")
            .try_acquire()
            .await
            .expect("a try")
            .is_none()
    );
    let zero = store
        .lock(&b, "l")
        .wait_timeout(Duration::ZERO)
        .acquire()
        .await;
    assert!(zero.expect_err("another client holds it").is_contended());
    queued(&a, "l", 0).await;
    let waiter = wait(store.lock(&a, "l"));
    queued(&a, "l", 1).await;
    free(guard).await;
    assert!(
        store
            .lock(&b, "l")
            .try_acquire()
            .await
            .expect("a try")
            .is_none()
    );
    free(waiter.await.expect("a waiter")).await;
    let guard = store.lock(&b, "l").try_acquire().await.expect("a try");
    free(guard.expect("it is free")).await;
}

pub async fn dropped_guard_frees_and_dropped_wait_leaves(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = take(&store.lock(&a, "l")).await;
    let waiter = wait(store.lock(&b, "l"));
    queued(&a, "l", 1).await;
    waiter.abort();
    queued(&a, "l", 0).await;
    drop(guard);
    let guard = tokio::time::timeout(ms(1_000), store.lock(&b, "l").acquire()).await;
    free(guard.expect("it was freed").expect("the lock")).await;
    let last = take(&store.lock(&a, "m")).await;
    drop((last, a));
    let guard = tokio::time::timeout(ms(1_000), store.lock(&b, "m").acquire()).await;
    free(guard.expect("a client that ends frees").expect("the lock")).await;
}

pub async fn inspect_shows_holder_and_waiters_in_order(store: &Store) {
    let client = store.client().await;
    let free_of_all = store.lock(&client, "l").inspect().await.expect("a status");
    assert!(!free_of_all.is_held() && free_of_all.waiting == 0);
    let guard = take(&store.lock(&client, "l").label("the holder")).await;
    let mut waiters = Vec::new();
    for n in 1..=3 {
        waiters.push(wait(store.lock(&client, "l").label(&format!("waiter {n}"))));
        queued(&client, "l", n).await;
    }
    let status = store.lock(&client, "l").inspect().await.expect("a status");
    let holder = status.holder.expect("a holder");
    assert_eq!(holder.label.note.as_deref(), Some("the holder"));
    assert_eq!(holder.label.pid, Some(std::process::id()));
    assert!(holder.held.expect("since when") < ms(5_000));
    let notes: Vec<_> = status
        .waiters
        .iter()
        .map(|w| w.label.note.clone())
        .collect();
    let expected = [1, 2, 3].map(|n| Some(format!("waiter {n}")));
    assert_eq!(notes, expected);
    assert!(status.waiters.iter().all(|w| w.waited < ms(5_000)));
    drop(guard);
    for waiter in waiters {
        free(waiter.await.expect("a waiter")).await;
    }
}

pub async fn operator_asks_or_breaks_by_fence(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    let guard = take(&store.lock(&a, "l").lease_time(ms(900))).await;
    let next = wait(store.lock(&b, "l").lease_time(ms(900)));
    queued(&b, "l", 1).await;
    let operator = b.lock("l");
    let asked = operator.ask_to_stop(guard.fence() + 1).await;
    assert_eq!(asked.expect("an answer"), Asked::NotHeld);
    let asked = operator.ask_to_stop(guard.fence()).await;
    assert!(matches!(asked.expect("an answer"), Asked::Notified { .. }));
    assert_eq!(guard.lost().await, LostReason::Revoked);
    assert!(!next.is_finished(), "granted before the holder has stopped");
    drop(guard);
    let guard = next.await.expect("a waiter");
    assert!(
        !operator
            .break_now(guard.fence() + 1)
            .await
            .expect("an answer")
    );
    assert!(operator.break_now(guard.fence()).await.expect("an answer"));
    let taken = operator
        .try_acquire()
        .await
        .expect("a try")
        .expect("it is free");
    assert_eq!(guard.lost().await, LostReason::Taken);
    free(taken).await;
}

pub async fn release_says_whether_the_hold_was_taken(store: &Store) {
    let (a, b) = (store.client().await, store.client().await);
    for expected in [LostReason::Deleted, LostReason::Taken] {
        let guard = take(&store.lock(&a, "l")).await;
        let broken = b.lock("l").break_now(guard.fence()).await;
        assert!(broken.expect("an answer"));
        let other = match expected {
            LostReason::Taken => Some(take(&store.lock(&b, "l")).await),
            _ => None,
        };
        let error = guard.release().await.expect_err("it was over");
        assert!(
            matches!(&error, Error::Lost(loss) if loss.reason == expected),
            "{error}"
        );
        if let Some(other) = other {
            free(other).await;
        }
    }
}

pub async fn session_reenters_and_last_guard_frees(store: &Store) {
    let client = store.client().await;
    let session = client.session();
    let outer = session.lock("l").acquire().await.expect("the lock");
    let inner = session.lock("l").acquire().await.expect("the lock");
    assert_eq!(outer.fence(), inner.fence());
    free(outer).await;
    assert!(
        store
            .lock(&client, "l")
            .try_acquire()
            .await
            .expect("a try")
            .is_none()
    );
    free(inner).await;
    let guard = store.lock(&client, "l").try_acquire().await.expect("a try");
    free(guard.expect("it is free")).await;
}

pub async fn any_text_is_a_distinct_name(store: &Store) {
    let client = store.client().await;
    let longest = "x".repeat(512);
    let names = [
        "}", "{}", "{", "a{b}c", "{b}", "a", "a:b", "%", "_", "'", "\"", "\n", "\0", "ü 🔒", "A",
        "*", "../x", &longest,
    ];
    let mut guards = Vec::new();
    for name in names {
        let guard = store
            .lock(&client, name)
            .try_acquire()
            .await
            .expect("a try");
        guards.push(guard.unwrap_or_else(|| panic!("{name:?} is another's")));
    }
    for (name, guard) in names.into_iter().zip(guards) {
        assert!(
            store
                .lock(&client, name)
                .try_acquire()
                .await
                .expect("a try")
                .is_none()
        );
        free(guard).await;
    }
}

pub async fn bad_input_is_refused_in_the_same_words(store: &Store) {
    let client = store.client().await;
    let lock = || store.lock(&client, "l");
    let long = "x".repeat(513);
    for (lock, words) in [
        (
            store.lock(&client, ""),
            "a name has 1 to 512 bytes, and this one is empty",
        ),
        (
            store.lock(&client, &long),
            "a name has 1 to 512 bytes, and this one has 513",
        ),
        (lock().lease_time(ms(99)), "lease"),
        (lock().lease_time(Duration::MAX), "lease"),
        (lock().lost_margin(ms(16_000)), "margin"),
        (lock().watchdog_interval(ms(16_000)), "interval"),
    ] {
        let error = lock.acquire().await.expect_err(words);
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

pub async fn max_hold_and_shutdown_end_holds(store: &Store) {
    let client = store.client().await;
    let guard = take(&store.lock(&client, "l").max_hold(ms(200))).await;
    let begun = Instant::now();
    assert_eq!(guard.lost().await, LostReason::MaxHold);
    assert!(begun.elapsed() < ms(300) + SLACK);
    drop(guard);
    let guard = take(&store.lock(&client, "l").lease_time(ms(1_500))).await;
    let waiter = tokio::spawn({
        let lock = store.lock(&client, "l");
        async move { lock.acquire().await }
    });
    queued(&client, "l", 1).await;
    assert_eq!(client.shutdown(ms(200)).await, 1);
    let refused = waiter.await.expect("a waiter");
    assert!(matches!(refused, Err(Error::Closed)));
    assert_eq!(guard.lost().await, LostReason::Shutdown);
    let other = store.client().await;
    assert!(
        store
            .lock(&other, "l")
            .try_acquire()
            .await
            .expect("a try")
            .is_none()
    );
    let next = tokio::time::timeout(ms(3_000), store.lock(&other, "l").acquire()).await;
    free(next.expect("the lease frees it").expect("the lock")).await;
}

pub async fn run_drops_the_work_on_a_lost_hold(store: &Store) {
    let client = store.client().await;
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Flag(dropped.clone());
    let lock = client.lock("l").lease_time(ms(900));
    let running = tokio::spawn(async move {
        lock.run(|_| async move {
            let _flag = flag;
            std::future::pending::<()>().await;
        })
        .await
    });
    let operator = client.lock("l");
    let mut fence = None;
    while fence.is_none() {
        tokio::time::sleep(ms(5)).await;
        let status = operator.inspect().await.expect("a status");
        fence = status.holder.and_then(|holder| holder.fence);
    }
    assert!(
        operator
            .break_now(fence.expect("a fence"))
            .await
            .expect("an answer")
    );
    let error = running.await.expect("a task").expect_err("it was lost");
    assert!(error.is_lost(), "{error}");
    assert!(eventually_async(ms(100), || dropped.load(Ordering::SeqCst)).await);
}

struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub async fn fences_rise_across_clients(store: &Store) {
    let keeper_of_the_store = store.client().await;
    let mut last = 0;
    for _ in 0..5 {
        let client = store.client().await;
        let guard = take(&store.lock(&client, "l")).await;
        assert!(last < guard.fence() && guard.fence() < 1 << 53);
        last = guard.fence();
        free(guard).await;
    }
    drop(keeper_of_the_store);
}
