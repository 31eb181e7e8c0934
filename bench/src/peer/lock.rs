//! A lock of any name, and what it is to hold it.

use crate::Failure;

pub(super) trait Lock: Clone + Send + Sync + 'static {
    type Held: Send;

    /// Whether it can wait behind others; else an acquire of a held lock fails.
    const WAITS: bool;

    /// Takes the lock of that name.
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Self::Held, Failure>> + Send;

    fn release(&self, held: Self::Held) -> impl Future<Output = Result<(), Failure>> + Send;
}
