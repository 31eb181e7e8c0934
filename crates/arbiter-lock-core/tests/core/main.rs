//! The rules, by their claims.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod invariants;
mod lease;
mod memory;
mod shared;
mod world;
