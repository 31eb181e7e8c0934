//! The rules, by their claims.

mod claims;
mod invariants;
mod lease;
mod shared;
mod world;
