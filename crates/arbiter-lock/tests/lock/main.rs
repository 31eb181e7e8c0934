//! The lock, by its claims.

mod cancel;
mod faults;
mod go;
mod memory;
mod processes;
mod redis;
