//! The lock, by its claims.

mod cancel;
mod memory;
mod redis;
