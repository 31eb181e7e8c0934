//! Which call drives a connection: a lone call does, without blocking others.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arbiter_lock::{Client, Guard};
use testkit::{Server, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Polls a future once, with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

async fn soon(acquire: impl Future<Output = Result<Guard, arbiter_lock::Error>>) -> Guard {
    tokio::time::timeout(ms(700), acquire)
        .await
        .expect("it was held up")
        .unwrap()
}

async fn a_client(server: &Server) -> Client {
    let client = Client::connect(&server.url()).await.unwrap();
    let warm = client.lock(&unique_name());
    warm.acquire().await.unwrap().release().await.unwrap();
    client
}

async fn unpolled_call_blocks_no_later_call() {
    let server = Server::start();
    let client = a_client(&server).await;
    let (first, second) = (client.lock(&unique_name()), client.lock(&unique_name()));
    for _ in 0..20 {
        let mut stalled = Box::pin(first.acquire());
        assert!(poll_once(&mut stalled).is_pending());
        let guard = soon(second.acquire()).await;
        let mut releasing = Box::pin(guard.release());
        let released = poll_once(&mut releasing);
        let guard = soon(stalled).await;
        guard.release().await.unwrap();
        match released {
            Poll::Ready(released) => released.unwrap(),
            Poll::Pending => releasing.await.unwrap(),
        }
    }
}

#[tokio::test]
async fn one_thread_unpolled_call_blocks_no_later_call() {
    unpolled_call_blocks_no_later_call().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_threads_unpolled_call_blocks_no_later_call() {
    unpolled_call_blocks_no_later_call().await;
}

#[tokio::test]
async fn waiter_is_granted_while_a_call_is_unpolled() {
    let server = Server::start();
    let (client, other) = (a_client(&server).await, a_client(&server).await);
    for _ in 0..4 {
        let (name, free) = (unique_name(), client.lock(&unique_name()));
        let held = other.lock(&name).acquire().await.unwrap();
        let waiter = tokio::spawn({
            let lock = client.lock(&name);
            async move { lock.acquire().await }
        });
        while other.lock(&name).inspect().await.unwrap().waiting == 0 {
            tokio::time::sleep(ms(2)).await;
        }
        let mut stalled = Box::pin(free.acquire());
        assert!(poll_once(&mut stalled).is_pending());
        held.release().await.unwrap();
        let granted = soon(async { waiter.await.unwrap() }).await;
        granted.release().await.unwrap();
        soon(stalled).await.release().await.unwrap();
    }
}

#[tokio::test]
async fn call_dropped_while_driving_blocks_no_other() {
    let server = Server::start();
    let client = a_client(&server).await;
    let lock = client.lock(&unique_name());
    for _ in 0..20 {
        let mut dropped = Box::pin(lock.acquire());
        assert!(poll_once(&mut dropped).is_pending());
        drop(dropped);
        let guard = tokio::time::timeout(ms(2_000), lock.acquire()).await;
        guard
            .expect("it was held up")
            .unwrap()
            .release()
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_calls_are_all_answered() {
    let server = Server::start();
    let client = a_client(&server).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..6_u32 {
        let lock = client.lock(&unique_name());
        tasks.spawn(async move {
            for round in 0..400_u32 {
                let guard = soon(lock.acquire()).await;
                if (round + task) % 7 == 0 {
                    tokio::time::sleep(Duration::from_micros(u64::from(100 * task))).await;
                }
                guard.release().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}
