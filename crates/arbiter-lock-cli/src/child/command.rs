//! Finds the command before the lock is acquired.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use arbiter_lock::Printable;

use nix::unistd::{AccessFlags, access};

use crate::exit::Exit;
use crate::output;
use crate::shell::quoted;

/// Checks that the command can be executed. The exit statuses are those of a shell.
pub(crate) fn find(command: &OsStr) -> Result<(), Exit> {
    let shown = command.to_string_lossy();
    let candidates = candidates(command);
    if let Some(path) = candidates.iter().find(|path| is_executable(path)) {
        return check_interpreter(path);
    }
    if let Some(path) = candidates.iter().find(|path| path.exists()) {
        output::say(&format!("cannot execute {}", path.display()));
        return Err(Exit::CannotExecute);
    }
    output::say(&format!("no such command: {}", quoted(&shown)));
    Err(Exit::NotFound)
}

/// How many scripts in a row may be each other's interpreters, as in Linux.
const MOST_INTERPRETERS: usize = 5;

/// The most that is read of a script's first line, as in Linux.
const FIRST_LINE: u64 = 256;

/// Checks that the interpreter of a script can be executed.
fn check_interpreter(path: &Path) -> Result<(), Exit> {
    let mut path = path.to_owned();
    for _ in 0..MOST_INTERPRETERS {
        let Some(interpreter) = interpreter(&path) else {
            return Ok(());
        };
        if !is_executable(&interpreter) {
            let (what, exit) = match interpreter.exists() {
                true => ("cannot be executed", Exit::CannotExecute),
                false => ("does not exist", Exit::NotFound),
            };
            output::say(&format!(
                "cannot execute {}: its interpreter '{}' (the first line, after #!) {what}{}",
                path.display(),
                Printable(&interpreter.to_string_lossy()),
                ends_as_on_windows(&interpreter)
            ));
            return Err(exit);
        }
        path = interpreter;
    }
    Ok(())
}

/// Returns the interpreter that a script names in its first line.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut begin = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FIRST_LINE).read_to_end(&mut begin).ok()?;
    let line = begin.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let mut words = line.split(|b| matches!(b, b' ' | b'\t'));
    let word = words.find(|word| !word.is_empty())?;
    Some(OsString::from_vec(word.to_vec()).into())
}

fn ends_as_on_windows(interpreter: &Path) -> &'static str {
    match interpreter.as_os_str().as_encoded_bytes() {
        [.., b'\r'] => "; the script has the line ends of Windows",
        _ => "",
    }
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
