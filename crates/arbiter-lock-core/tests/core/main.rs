//! The rules, by their claims.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod claims;
mod fixture;
mod invariants;
mod lease;
mod retention;
mod shared;
