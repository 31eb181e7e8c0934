//! Names that no other test uses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Returns a new name for a test.
#[must_use]
pub fn unique_name() -> String {
    unique("test")
}

/// Returns that word with a unique suffix: the process id, the time, and a counter.
pub(crate) fn unique(word: &str) -> String {
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{word}-{}-{:x}-{number}",
        std::process::id(),
        time.as_nanos()
    )
}
