//! The lock, by its claims.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bystanders;
mod campaign;
mod cancel;
mod conformance;
mod cost;
mod driving;
mod election;
#[cfg(feature = "embedded")]
mod embedded;
mod events;
mod faces;
mod failover;
mod faults;
mod fenced;
mod go;
mod liar;
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
mod unpolled;

/// A runtime of the test's own, with one thread.
fn one_worker() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}
