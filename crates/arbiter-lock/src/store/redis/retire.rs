//! Connections that are closed when their server is replaced.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

/// A connection to a server that another one can replace.
pub(super) trait Retire: Send + Sync {
    /// Closes the connection at once, after its server was replaced.
    fn retire(&self);
}

/// Closes the connections that still exist. A waker of the program that panics does not keep the
/// others open.
pub(super) fn retire_all(connections: &[Weak<dyn Retire>]) {
    for connection in connections.iter().filter_map(Weak::upgrade) {
        let _ = catch_unwind(AssertUnwindSafe(|| connection.retire()));
    }
}
