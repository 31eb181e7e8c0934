//! Names that no other test uses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A fresh name for a test.
#[must_use]
pub fn unique_name() -> String {
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let number = next();
    format!("test-{}-{:x}-{number}", std::process::id(), time.as_nanos())
}

/// A number that nobody else of this process has.
pub(crate) fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}
