//! The lock, by its claims.

mod memory;
