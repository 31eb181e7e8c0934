//! Tests of the library through its public API.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acknowledgement;
mod auth;
mod block_on;
mod cancellation;
mod causes;
mod chaos;
mod cluster;
mod cluster_access;
mod cluster_connecting;
mod cluster_faults;
mod cluster_holds;
mod cluster_moves;
mod conformance;
mod connecting;
mod connection_driver;
mod connector;
mod cost;
mod credentials;
mod deadlock;
mod election;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "embedded")]
mod embedded_files;
mod events;
mod examples;
mod expired_permits;
mod failover;
mod faults;
mod fork;
mod go;
mod health;
mod isolation;
mod latency_and_drift;
mod logging;
mod malicious_cluster;
mod malicious_sentinel;
mod malicious_server;
mod matrix;
#[cfg(feature = "metrics")]
mod metrics;
mod once;
mod options;
#[cfg(feature = "postgres")]
mod postgres_access;
#[cfg(feature = "postgres")]
mod postgres_commits;
#[cfg(feature = "postgres")]
mod postgres_faults;
#[cfg(feature = "postgres")]
mod postgres_guard;
#[cfg(feature = "postgres")]
mod postgres_pooler;
#[cfg(feature = "postgres")]
mod postgres_relay;
#[cfg(feature = "postgres")]
mod postgres_standbys;
#[cfg(feature = "postgres")]
mod postgres_tls;
mod prefixes;
mod primitives;
mod processes;
mod redis;
mod secrets;
mod sentinel;
mod sentinel_access;
mod sentinel_faults;
mod server_kinds;
mod server_states;
mod session;
#[cfg(feature = "embedded")]
mod shared_folders;
mod sharing;
mod simulation;
mod stress;
mod testing;
#[cfg(feature = "tls")]
mod tls;
mod tracing;
mod unpolled;

/// Queues that many waiters, polls their futures until all of them wait, and then no longer.
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
        _ = futures_util::future::join_all(&mut waiting) => panic!("the lock is held"),
        () = all_wait => waiting,
    }
}

/// Acquires the lock, which is free, and releases it.
async fn acquire_and_release(lock: &arbiter_lock::Lock) {
    lock.acquire().await.unwrap().release().await.unwrap();
}

/// Builds a runtime with one worker thread.
fn one_worker() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}
