//! A distributed lock.

mod store;
