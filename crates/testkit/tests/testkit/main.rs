//! The claims of the testkit: what other tests stand on has to hold itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clock;
mod history;
mod proxy;
mod servers;
mod wire;
