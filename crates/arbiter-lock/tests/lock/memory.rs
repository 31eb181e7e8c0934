//! The lock on the memory store, on paused time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arbiter_lock::{Client, Error, LostReason};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(start_paused = true)]
async fn one_holder_at_a_time_in_order_of_arrival_with_rising_fences() {
    let client = Client::in_memory();
    let first = client.lock("l").acquire().await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..10 {
        let (client, order) = (client.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            tokio::time::sleep(ms(n)).await;
            let guard = client.lock("l").acquire().await.unwrap();
            order.lock().unwrap().push((n, guard.fence()));
            tokio::time::sleep(ms(700)).await;
            guard.release().await.unwrap();
        }));
    }
    tokio::time::sleep(ms(100)).await;
    let fence = first.fence();
    first.release().await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let order = order.lock().unwrap().clone();
    assert_eq!(
        order.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert!(fence < order[0].1 && order.windows(2).all(|w| w[0].1 < w[1].1));
}

#[tokio::test(start_paused = true)]
async fn a_hold_outlives_its_lease_while_it_is_renewed() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .lease_time(ms(300))
        .acquire()
        .await
        .unwrap();
    tokio::time::sleep(ms(10_000)).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_watchdog_a_hold_ends_with_its_lease_and_the_holder_is_told() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .lease_time(ms(300))
        .watchdog(false)
        .acquire()
        .await
        .unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(guard.lost().await, LostReason::Expired);
    assert!(begin.elapsed() <= ms(300));
    let error = guard.release().await.unwrap_err();
    assert!(matches!(error, Error::Lost(loss) if loss.reason == LostReason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_tells_who_holds_and_leaves_the_queue() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .label("the holder")
        .acquire()
        .await
        .unwrap();
    let begin = tokio::time::Instant::now();
    let error = client
        .lock("l")
        .wait_timeout(ms(250))
        .acquire()
        .await
        .unwrap_err();
    assert!(begin.elapsed() <= ms(300));
    let Error::Contended(contended) = error else {
        panic!("{error}")
    };
    assert_eq!(contended.place, Some(1));
    assert_eq!(
        contended.holder.unwrap().label.note.as_deref(),
        Some("the holder")
    );
    assert_eq!(client.lock("l").inspect().await.unwrap().waiting, 0);
    drop(guard);
    assert!(client.lock("l").try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_reenters_and_its_last_guard_frees() {
    let client = Client::in_memory();
    let session = client.session();
    let outer = session.lock("l").acquire().await.unwrap();
    let inner = session.lock("l").acquire().await.unwrap();
    assert_eq!(outer.fence(), inner.fence());
    outer.release().await.unwrap();
    assert!(client.lock("l").try_acquire().await.unwrap().is_none());
    inner.release().await.unwrap();
    assert!(client.lock("l").try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn run_drops_the_work_when_the_hold_is_lost() {
    let client = Client::in_memory();
    let testing = client.testing();
    let finished = Arc::new(AtomicUsize::new(0));
    let counted = finished.clone();
    let lock = client.lock("l").lease_time(ms(500));
    let run = lock.run(|_| async move {
        testing.go_silent();
        tokio::time::sleep(ms(5_000)).await;
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert!(matches!(run.await, Err(Error::Lost(loss)) if loss.reason == LostReason::Unreachable));
    assert_eq!(finished.load(Ordering::SeqCst), 0);
}
