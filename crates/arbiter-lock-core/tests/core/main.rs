//! The rules of the core.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod awaited_expiry;
mod claims;
mod fixture;
mod invariants;
mod lease;
mod permits;
mod records;
mod retention;
mod shared;
mod transfers;
