//! The program of this process, which starts itself again as the shim and the watcher.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use arbiter_lock::Printable;

use super::command::{candidates, is_executable};

/// The file of the program, even if an upgrade has replaced it. If a loader started arbiter, it is
/// that of the loader.
const ITSELF: &str = "/proc/self/exe";

/// Returns a command that runs arbiter itself, through the same loader if there was one.
pub(super) fn again() -> io::Result<Command> {
    if !has_itself() {
        return Ok(Command::new(by_name()?));
    }
    let mut again = Command::new(ITSELF);
    match loader_words().as_slice() {
        [] => again.arg0("arbiter"),
        words => again.args(words),
    };
    Ok(again)
}

/// Returns whether [`again`] certainly runs arbiter.
pub(super) fn is_certain() -> bool {
    has_itself() && loader_words().is_empty()
}

fn has_itself() -> bool {
    cfg!(target_os = "linux") && std::fs::metadata(ITSELF).is_ok()
}

/// Returns the words after the loader on its command line, up to arbiter's file. It is empty
/// without a loader.
fn loader_words() -> Vec<OsString> {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    before_arguments(&line, std::env::args_os().len())
}

/// Returns the words of a command line between the first one and the last `count - 1`. The loader
/// hides its own words from the program.
fn before_arguments(line: &[u8], count: usize) -> Vec<OsString> {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let hidden = words.len().saturating_sub(count);
    let words = words.iter().skip(1).take(hidden);
    words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect()
}

/// Returns the file to which the name of this process refers.
fn by_name() -> io::Result<PathBuf> {
    if !cfg!(target_os = "linux") {
        return std::env::current_exe();
    }
    let name = std::env::args_os().next().unwrap_or_default();
    let found = candidates(OsStr::new(&name));
    let found = found.into_iter().find(|path| is_executable(path));
    let path = found.ok_or_else(|| {
        let name = name.to_string_lossy();
        io::Error::other(format!(
            "/proc is missing, and '{}' is no program",
            Printable(&name)
        ))
    })?;
    std::path::absolute(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_loader_are_found() {
        let cases: [(&[u8], usize, &[&str]); 5] = [
            (b"arbiter\0run\0\0", 3, &[]),
            (b"/lib/ld.so\0./arbiter\0run\0", 2, &["./arbiter"]),
            (
                b"ld.so\0--argv0\0x\0./a\0run\0",
                2,
                &["--argv0", "x", "./a"],
            ),
            (b"ld.so\0./a\0", 1, &["./a"]),
            (b"", 2, &[]),
        ];
        for (line, count, words) in cases {
            assert_eq!(before_arguments(line, count), words, "{line:?}");
        }
    }
}
