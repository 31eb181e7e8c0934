//! Futures dropped at every await, and guards dropped in odd places, leave nothing behind.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use arbiter_lock::{Client, Status};

/// Polls a future that many times and drops it; answers what it came to, if it ended.
async fn poll_times<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn is_clean(client: &Client, name: &str) -> bool {
    let Status {
        holder, waiting, ..
    } = client.lock(name).inspect().await.unwrap();
    holder.is_none() && waiting == 0
}

#[tokio::test(start_paused = true)]
async fn an_acquire_dropped_after_any_poll_leaves_nothing() {
    let client = Client::in_memory();
    for times in 0..8 {
        let lock = client.lock("l");
        drop(poll_times(times, lock.acquire()).await);
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_acquire_dropped_after_any_poll_leaves_the_queue() {
    let client = Client::in_memory();
    for times in 0..12 {
        let guard = client.lock("l").acquire().await.unwrap();
        let lock = client.lock("l");
        assert!(poll_times(times, lock.acquire()).await.is_none());
        assert_eq!(
            lock.inspect().await.unwrap().waiting,
            0,
            "after {times} polls"
        );
        guard.release().await.unwrap();
        assert!(is_clean(&client, "l").await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquire_dropped_with_its_grant_on_the_way_hands_over_to_the_next() {
    for times in 1..12 {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        let first = client.lock("l");
        let mut first = Box::pin(first.acquire());
        let queued = poll_times(4, &mut first).await;
        assert!(queued.is_none());
        let second = tokio::spawn({
            let client = client.clone();
            async move { client.lock("l").acquire().await.unwrap().fence() }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        guard.release().await.unwrap();
        let granted = poll_times(times - 1, &mut first).await;
        drop((granted, first));
        let next = tokio::time::timeout(Duration::from_millis(50), second).await;
        assert!(next.is_ok(), "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_dropped_after_any_poll_frees_all_the_same() {
    let client = Client::in_memory();
    for times in 0..6 {
        let guard = client.lock("l").acquire().await.unwrap();
        drop(poll_times(times, guard.release()).await);
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_after_any_poll_frees_all_the_same() {
    let client = Client::in_memory();
    for times in 0..10 {
        let lock = client.lock("l");
        let work = |_| tokio::time::sleep(Duration::from_secs(1));
        drop(poll_times(times, lock.run(work)).await);
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[test]
fn a_guard_dropped_in_a_thread_without_a_runtime_frees() {
    let client = Client::in_memory();
    let guard = client.lock("l").blocking_acquire().unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert!(!client.lock("l").blocking_inspect().unwrap().is_held());
}

#[test]
fn a_guard_that_outlives_its_runtime_still_frees_and_is_still_held_until_then() {
    let client = Client::in_memory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.block_on(client.lock("l").acquire()).unwrap();
    drop(runtime);
    assert!(guard.is_held());
    assert!(client.lock("l").blocking_try_acquire().unwrap().is_none());
    drop(guard);
    assert!(client.lock("l").blocking_try_acquire().unwrap().is_some());
}

#[test]
fn a_guard_dropped_in_a_panic_frees() {
    let client = Client::in_memory();
    let held = client.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = held.lock("l").blocking_acquire().unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(client.lock("l").blocking_try_acquire().unwrap().is_some());
}

#[test]
fn futures_run_on_an_executor_that_is_not_tokio() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = block_on(lock.acquire()).unwrap();
    assert!(block_on(lock.try_acquire()).unwrap().is_none());
    block_on(guard.refresh()).unwrap();
    block_on(guard.release()).unwrap();
    assert!(!block_on(lock.inspect()).unwrap().is_held());
}

/// An executor of a single thread that parks.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
