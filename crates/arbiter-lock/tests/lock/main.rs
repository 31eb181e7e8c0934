//! The lock, by its claims.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bystanders;
mod cancel;
mod conformance;
#[cfg(feature = "embedded")]
mod embedded;
mod faults;
mod go;
mod liar;
mod matrix;
mod moods;
mod options;
mod processes;
mod redis;
mod session;
mod stress;
