//! Data on stdout.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use arbiter_lock::Printable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::exit::Exit;
use crate::output;
use crate::printable_json::PrintableJson;

/// Prints lines. Returns how the command ends if that fails.
pub(crate) fn lines(text: &str) -> Result<(), Exit> {
    text.lines().try_for_each(|text| line(&Printable(text)))
}

/// Prints a JSON value as a line. Returns how the command ends if that fails.
pub(crate) fn json_line(value: &Value) -> Result<(), Exit> {
    line(&PrintableJson(value))
}

/// Prints a line as it is. Returns how the command ends if that fails.
pub(crate) fn line(text: &dyn Display) -> Result<(), Exit> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Exit::Success; // the reader has read enough
        }
        output::say(&format!("cannot write to stdout: {error}"));
        Exit::Os
    })
}

/// Returns whether stdout is a pipe without a reader. Without a line to print there is no write that
/// would detect it.
pub(crate) fn is_reader_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| 0 < n)
        && fds[0]
            .revents()
            .is_some_and(|e| e.contains(PollFlags::POLLERR))
}
