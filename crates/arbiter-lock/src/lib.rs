//! A distributed lock.
