//! A folder of a test's own.

use std::path::{Path, PathBuf};

/// A fresh folder, removed with its value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one, with a path short enough for sockets in it. One that was killed has left its own:
    /// its process id comes again, and its time does not.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(crate::names::unique("arb"));
        std::fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The URL of an embedded store in it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("file://{}", self.0.join("store").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
