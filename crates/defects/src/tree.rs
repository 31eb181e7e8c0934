//! A copy of the project in which a defect can be put back.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Defect;

/// A copy of the project.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Copies the files of the project at `from`. A file that is the same already is not touched,
    /// so that it is not built again. A file that the project no longer has is removed.
    ///
    /// # Errors
    /// If the project's files cannot be listed, read or written.
    pub fn copy(from: &Path, root: &Path) -> io::Result<Self> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(from)
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let (source, copy) = (from.join(file), root.join(file));
            let Ok(text) = fs::read(&source) else {
                continue; // removed, and not yet committed so
            };
            if fs::read(&copy).is_ok_and(|old| old == text) {
                continue;
            }
            if let Some(folder) = copy.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&copy, text)?;
            fs::set_permissions(&copy, fs::metadata(&source)?.permissions())?;
        }
        let copied: BTreeSet<PathBuf> = listed.split('\0').map(|file| root.join(file)).collect();
        remove_all_but(root, &copied)?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Returns its path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Puts the defect back for as long as `during` lasts.
    ///
    /// # Errors
    /// If the file cannot be read or written, or does not have the text of the defect exactly once.
    pub fn with<T>(&self, defect: &Defect, during: impl FnOnce() -> T) -> io::Result<T> {
        let path = self.root.join(defect.file);
        let sound = fs::read_to_string(&path)?;
        if sound.matches(defect.was).count() != 1 {
            let what = format!("{} has not, once: {}", defect.file, defect.was);
            return Err(io::Error::other(what));
        }
        fs::write(&path, sound.replacen(defect.was, defect.put_back, 1))?;
        let done = during();
        fs::write(&path, sound)?;
        Ok(done)
    }
}

/// Removes the files below a folder that are not wanted.
fn remove_all_but(folder: &Path, wanted: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_all_but(&entry.path(), wanted)?;
        } else if !wanted.contains(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
