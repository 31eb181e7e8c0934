//! The rules of the lock.
