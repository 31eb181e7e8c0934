//! Tests of the testkit, which other tests depend on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clock;
mod cluster;
mod history;
mod proxy;
mod servers;
mod wire;
