//! The rules of the core.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod fixture;
mod invariants;
mod lease;
mod retention;
mod shared;
