//! The command, by its output and its status, on a real server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod face;
mod rig;
mod run;
mod signals;
mod terminal;
mod typing;
