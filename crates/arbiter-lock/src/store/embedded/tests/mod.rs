mod comparison;
mod opening;

use std::path::PathBuf;

/// A temporary folder of one test, removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn folder() -> Scratch {
    let path = std::env::temp_dir().join(format!("arb-{:016x}", rand::random::<u64>()));
    std::fs::create_dir(&path).unwrap();
    Scratch(path)
}
