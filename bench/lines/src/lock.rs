//! A lock of any name, and its hold.

use crate::Failure;

/// A lock that participates.
pub trait Lock: Clone + Send + Sync + 'static {
    /// The hold, until it is released.
    type Held: Send;

    /// Whether it can wait behind others. Otherwise an acquire of a held lock fails.
    const WAITS: bool = true;

    /// Takes the lock of that name.
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Self::Held, Failure>> + Send;

    /// Frees the lock.
    fn release(&self, held: Self::Held) -> impl Future<Output = Result<(), Failure>> + Send;
}
