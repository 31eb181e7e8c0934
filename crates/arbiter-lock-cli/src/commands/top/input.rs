//! The bytes of the terminal, read on a thread.
//!
//! The thread never reads in the background, since the keys are the shell's then. It ends with the
//! terminal.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Read as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::sync::mpsc;

/// How often a process in the background checks whether it has the terminal again.
const BACKGROUND: Duration = Duration::from_millis(100);

/// Opens the terminal that sends the keys: that of stdin, else that of the session.
pub(super) fn open() -> io::Result<File> {
    let stdin = io::stdin();
    match stdin.is_terminal() {
        true => stdin.as_fd().try_clone_to_owned().map(File::from),
        false => File::open("/dev/tty"),
    }
}

/// Returns whether this process may use the terminal. One without a session may.
pub(super) fn is_in_foreground(tty: &File) -> bool {
    tcgetpgrp(tty).map_or(true, |foreground| foreground == getpgrp())
}

/// Starts the thread. The channel ends when the terminal was closed.
pub(super) fn start(tty: File) -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let (bytes, received) = mpsc::channel(64);
    let thread = std::thread::Builder::new().name("keys".into());
    thread.spawn(move || read_all(tty, &bytes))?;
    Ok(received)
}

fn read_all(mut tty: File, bytes: &mpsc::Sender<Vec<u8>>) {
    // A read in the background, which may begin just then, fails and stops nothing.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTIN);
    let _ = blocked.thread_block();
    let mut buffer = [0; 1_024];
    loop {
        let mut fds = [PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
        let polled = poll(&mut fds, PollTimeout::NONE);
        if !is_in_foreground(&tty) {
            std::thread::sleep(BACKGROUND);
            continue;
        }
        if polled.is_err() {
            continue; // a signal came
        }
        match tty.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if bytes.blocking_send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BACKGROUND),
            Err(_) if !is_in_foreground(&tty) => {}
            Err(_) => return,
        }
    }
}
