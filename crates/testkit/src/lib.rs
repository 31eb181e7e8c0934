//! Servers, faults and claims for the tests of Arbiter.
//!
//! Everything listens on loopback, on ports that the system gives, and ends with the value that
//! started it.

mod child_process;
mod clock;
pub mod conformance;
mod find;
mod folder;
mod go;
mod history;
mod names;
mod port;
mod proxy;
mod resp;
mod server;
mod tls;

pub use child_process::{ChildProcess, User};
pub use clock::WallClock;
pub use find::{Flavour, flavours, server_binary};
pub use folder::Folder;
pub use go::GoLock;
pub use history::{History, HoldInterval, Share, Summary, Violation};
pub use names::unique_name;
pub use proxy::{Fault, Proxy, Pushes, Rule, Traffic};
pub use resp::Reply;
pub use server::{Server, ServerBuilder};

use std::time::{Duration, Instant};

/// For how long a test that gains by it goes on: `ARBITER_SOAK_SECONDS`, else `short`.
#[must_use]
pub fn soak_time(short: Duration) -> Duration {
    let seconds = std::env::var("ARBITER_SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    seconds.map_or(short, Duration::from_secs)
}

/// Whether a test goes on: until `end`, and then, at most for a minute, until enough has happened
/// for it to judge.
pub fn goes_on(end: Instant, enough: impl FnOnce() -> bool) -> bool {
    let now = Instant::now();
    now < end || (now < end + Duration::from_secs(60) && !enough())
}

/// Waits until the condition holds, at most for `limit`, and answers whether it did.
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

/// As [`eventually`], without blocking the runtime; on paused time, by that time.
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
