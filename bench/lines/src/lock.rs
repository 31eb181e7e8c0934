//! A lock of any name, and what it is to hold it.

use crate::Failure;

/// A lock that takes part.
pub trait Lock: Clone + Send + Sync + 'static {
    /// What is held, until it is released.
    type Held: Send;

    /// Whether it can wait behind others; else an acquire of a held lock fails.
    const WAITS: bool = true;

    /// Takes the lock of that name.
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Self::Held, Failure>> + Send;

    /// Frees it.
    fn release(&self, held: Self::Held) -> impl Future<Output = Result<(), Failure>> + Send;
}
