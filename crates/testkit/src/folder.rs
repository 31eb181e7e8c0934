//! A temporary folder.

use std::path::{Path, PathBuf};

/// A new folder, removed on drop.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a folder with a path short enough for sockets. A killed test leaves its folder: the
    /// process id may be reused, and the time is not.
    ///
    /// # Panics
    /// If it cannot be created.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(crate::names::unique("arb"));
        std::fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the URL of an embedded store in it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("file://{}", self.0.join("store").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
