//! The lock, by its claims.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod block_on;
mod bystanders;
mod campaign;
mod cancel;
mod causes;
mod conformance;
mod connecting;
mod cost;
mod deadlock;
mod driving;
mod election;
#[cfg(feature = "embedded")]
mod embedded;
mod events;
mod expired_permits;
mod faces;
mod failover;
mod faults;
mod fenced;
mod fork;
mod go;
#[cfg(feature = "embedded")]
mod groups;
mod liar;
mod links;
mod logging;
mod matrix;
mod moods;
mod once;
mod options;
mod processes;
mod redis;
mod rights;
mod secrets;
mod session;
mod sharing;
mod simulation;
mod stress;
mod testing;
mod unpolled;

/// So many who wait and are polled until they all do, but no longer: they look no more.
async fn in_line<F: Future>(
    lock: &arbiter_lock::Lock,
    count: usize,
    acquire: impl FnMut() -> F,
) -> Vec<std::pin::Pin<Box<F>>> {
    let mut waiting: Vec<_> = std::iter::repeat_with(acquire)
        .map(Box::pin)
        .take(count)
        .collect();
    let all_wait = async {
        while lock.inspect().await.unwrap().waiting < count as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = futures_util::future::join_all(&mut waiting) => panic!("nobody can be granted"),
        () = all_wait => waiting,
    }
}

/// A runtime of the test's own, with one thread.
fn one_worker() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}
