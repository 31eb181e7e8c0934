//! The lock, by its claims.

mod cancel;
mod faults;
mod memory;
mod processes;
mod redis;
