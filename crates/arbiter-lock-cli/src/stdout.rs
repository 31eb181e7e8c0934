//! Data on stdout.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exit::Exit;
use crate::output;

/// Prints a line. Returns how the command ends if that fails.
pub(crate) fn line(text: &str) -> Result<(), Exit> {
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
