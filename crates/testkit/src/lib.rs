//! Servers, faults and claims for the tests of Arbiter.
//!
//! Everything listens on loopback, on ports that the system gives, and ends with the value that
//! started it.

mod clock;
mod find;
mod go;
mod names;
mod puppet;
mod resp;
mod server;
mod tls;

pub use clock::ServerClock;
pub use find::{Flavour, flavours, server_binary};
pub use go::GoLock;
pub use names::unique_name;
pub use puppet::Puppet;
pub use resp::Reply;
pub use server::{Server, ServerBuilder};

use std::time::{Duration, Instant};

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
