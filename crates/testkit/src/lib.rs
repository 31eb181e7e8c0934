//! Servers, faults and conformance tests for Arbiter.
//!
//! All servers listen on loopback, on free ports, and end on drop, or with the process.

mod bound_process;
mod child_process;
mod clock;
mod cluster;
mod companion;
pub mod conformance;
mod find;
mod folder;
mod go;
mod history;
mod names;
mod port;
mod postgres;
mod proxy;
mod resp;
mod sentinel;
mod server;
mod shared;
mod tls;
mod turn;

pub use child_process::{ChildProcess, User};
pub use clock::WallClock;
pub use cluster::{Bus, Cluster, ClusterBuilder};
pub use companion::{companion, companion_kind};
pub use find::{Flavour, flavours, server_binary};
pub use folder::Folder;
pub use go::GoLock;
pub use history::{History, HoldInterval, Share, Summary, Violation};
pub use names::unique_name;
pub use postgres::{Pooler, Postgres, PostgresBuilder, Psql};
pub use proxy::{Fault, Proxy, Pushes, Rule, Traffic};
pub use resp::Reply;
pub use sentinel::{SentinelGroup, SentinelGroupBuilder};
pub use server::{Server, ServerBuilder};
pub use shared::Shared;

use std::time::{Duration, Instant};

/// Returns how long a test runs that gains by a longer time: `ARBITER_SOAK_SECONDS`, or else
/// `short`.
#[must_use]
pub fn soak_time(short: Duration) -> Duration {
    let seconds = std::env::var("ARBITER_SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(short, Duration::from_secs)
}

/// Returns whether a test continues: until `end`, and then for at most a minute until enough has
/// happened to judge.
pub fn goes_on(end: Instant, enough: impl FnOnce() -> bool) -> bool {
    let now = Instant::now();
    now < end || (now < end + Duration::from_secs(60) && !enough())
}

/// Waits until the condition holds, at most for `limit`, and returns whether it did.
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !condition() {
        if limit < begun.elapsed() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Waits like [`eventually`], without blocking the runtime. On paused time, `limit` is measured in
/// that time.
pub async fn eventually_async(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begun = tokio::time::Instant::now();
    while !condition() {
        if limit < begun.elapsed() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// Compiles and runs the examples of the documentation pages.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../arbiter-lock/README.md")]
    struct LibraryReadme;
    #[doc = include_str!("../../../docs/guide.md")]
    struct Guide;
    #[doc = include_str!("../../../docs/from-go.md")]
    struct FromGo;
    #[doc = include_str!("../../../docs/rw-lock.md")]
    struct RwLock;
    #[doc = include_str!("../../../docs/semaphore.md")]
    struct Semaphore;
    #[doc = include_str!("../../../docs/several.md")]
    struct Several;
    #[doc = include_str!("../../../docs/election.md")]
    struct Election;
    #[doc = include_str!("../../../docs/once.md")]
    struct Once;
    #[doc = include_str!("../../../docs/observability.md")]
    struct Observability;
}
