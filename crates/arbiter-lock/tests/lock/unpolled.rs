//! Waiters whose futures are not polled for a while, on virtual time. They lose their turn, and
//! other waiters do not. A grant just before the store goes silent.

use std::pin::Pin;
use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, Lock, LostReason};
use tokio::time::{Instant, sleep, timeout};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

type Waiting = Pin<Box<dyn Future<Output = Result<Guard, Error>>>>;

/// Queues waiters whose futures are no longer polled.
async fn unpolled(lock: &Lock, count: usize) -> Vec<Waiting> {
    let mut waiters: Vec<Waiting> = Vec::new();
    for _ in 0..count {
        let lock = lock.clone();
        let mut waiter: Waiting = Box::pin(async move { lock.acquire().await });
        assert!(timeout(ms(1), &mut waiter).await.is_err());
        waiters.push(waiter);
    }
    waiters
}

#[tokio::test(start_paused = true)]
async fn try_skips_any_number_of_dead_waiters() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let lapsing = lock.clone().lease_time(ms(1_000)).watchdog(false);
    let lapsing = lapsing.acquire().await.unwrap();
    let _dead = unpolled(&lock, 100).await;
    lapsing.lost().await;
    sleep(ms(3_000)).await; // On virtual time: they have not polled for as long.
    assert!(lock.try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn late_release_skips_all_dead_waiters() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = lock.acquire().await.unwrap();
    let _dead = unpolled(&lock, 40).await;
    let live = tokio::spawn(async move { lock.acquire().await });
    sleep(ms(3_000)).await; // On virtual time: only the live one polls.
    client.testing().go_silent();
    drop(guard); // The keeper ends it when the store answers.
    sleep(ms(10)).await;
    client.testing().answer();
    let granted = timeout(ms(100), live).await;
    drop(granted.expect("before its own poll").unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn waiter_that_missed_its_grant_is_granted_again() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = lock.acquire().await.unwrap();
    let waiter = unpolled(&lock, 1).await.remove(0);
    drop(guard);
    tokio::time::advance(ms(2_500)).await; // Its provisional TTL expires.
    let granted = timeout(ms(3_000), waiter).await;
    assert!(granted.expect("at its next poll").unwrap().is_held());
}

#[tokio::test(start_paused = true)]
async fn unanswered_claim_keeps_grant_for_provisional_ttl() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = lock.acquire().await.unwrap();
    let waiter = unpolled(&lock, 1).await.remove(0);
    drop(guard); // It hands off at once.
    client.testing().go_silent();
    let granted = timeout(ms(100), waiter).await.expect("at once").unwrap();
    let begun = Instant::now();
    assert_eq!(granted.lost().await, LostReason::Unreachable);
    assert!(begun.elapsed() < ms(2_000));
}

#[tokio::test(start_paused = true)]
async fn grant_claimed_first_is_valid_from_the_claim() {
    let client = Client::in_memory();
    let lock = client.lock("l").lost_margin(ms(6_000));
    let guard = lock.acquire().await.unwrap();
    let waiter = unpolled(&lock, 1).await.remove(0);
    drop(guard);
    tokio::time::advance(ms(1_500)).await;
    let granted = waiter.await.unwrap();
    assert!(ms(23_900) < granted.remaining(), "{granted:?}");
}

#[tokio::test(start_paused = true)]
async fn failed_claim_polls_for_a_new_grant() {
    let client = Client::in_memory();
    let lock = client.lock("l").lost_margin(ms(6_000));
    let guard = lock.acquire().await.unwrap();
    let waiter = unpolled(&lock, 1).await.remove(0);
    drop(guard);
    assert!(client.testing().expire("l"));
    let granted = timeout(ms(10), waiter).await.expect("at once").unwrap();
    assert!(granted.is_held());
}
