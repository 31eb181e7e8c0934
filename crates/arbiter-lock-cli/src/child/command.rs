//! Finds the command before the lock is acquired.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::exit::Exit;
use crate::output;
use crate::shell::quoted;

/// Checks that the command can be executed. The exit statuses are those of a shell.
pub(crate) fn find(command: &OsStr) -> Result<(), Exit> {
    let shown = command.to_string_lossy();
    let candidates = candidates(command);
    if candidates.iter().any(|path| is_executable(path)) {
        return Ok(());
    }
    if let Some(path) = candidates.iter().find(|path| path.exists()) {
        output::say(&format!("cannot execute {}", path.display()));
        return Err(Exit::CannotExecute);
    }
    output::say(&format!("no such command: {}", quoted(&shown)));
    Err(Exit::NotFound)
}

pub(super) fn candidates(command: &OsStr) -> Vec<PathBuf> {
    let path = Path::new(command);
    if command.as_encoded_bytes().contains(&b'/') || command.is_empty() {
        return vec![path.to_owned()];
    }
    // Without PATH, the system searches its default folders.
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&folders)
        .map(|folder| folder.join(path))
        .collect()
}

pub(super) fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}
