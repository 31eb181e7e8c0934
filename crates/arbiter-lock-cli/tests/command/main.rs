//! The command, by its output and its status, on real stores.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod face;
mod faces;
mod machine;
mod rig;
mod run;
mod signals;
mod stderr;
mod terminal;
mod typing;
mod waiting;
