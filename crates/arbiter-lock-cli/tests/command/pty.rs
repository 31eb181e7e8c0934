//! A command on a terminal of its own, and the screen that it shows.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{Termios, tcgetattr};
use rustix::termios::{Winsize, tcsetwinsize};
use testkit::{Server, eventually};

use crate::helpers::{ms, unignoring};

/// A command on a terminal of 80 columns and 24 rows.
pub(crate) struct Pty {
    pub(crate) child: Child,
    /// `None` once the terminal was closed.
    keyboard: Option<File>,
    reader: Option<JoinHandle<()>>,
    is_closed: Arc<AtomicBool>,
    tty: File,
    parser: Arc<Mutex<vt100::Parser>>,
    before: Termios,
}

/// Opens a terminal that no process of another test inherits: closing it has an effect.
fn open_pty() -> (File, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let pty = posix_openpt(flags).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let mut options = File::options();
    let options = options.read(true).write(true);
    let options = options.custom_flags(OFlag::O_NOCTTY.bits());
    let tty = options.open(ptsname_r(&pty).unwrap()).unwrap();
    (File::from(pty.as_fd().try_clone_to_owned().unwrap()), tty)
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Pty {
    /// Starts `arbiter` with these words. It has the id of the child.
    pub(crate) fn start(url: &str, words: &[&str]) -> Self {
        let arbiter = [&[env!("CARGO_BIN_EXE_arbiter")], words].concat();
        Self::run(url, "xterm-256color", &arbiter)
    }

    /// Starts `arbiter top`, with HUP ignored or not.
    pub(crate) fn with_hup(url: &str, hup: &str) -> Self {
        let env = ["env", hup, env!("CARGO_BIN_EXE_arbiter"), "top"];
        Self::run(url, "xterm-256color", &env)
    }

    /// Starts a shell.
    pub(crate) fn shell(server: &Server) -> Self {
        let shell = ["bash", "--norc", "--noprofile", "-i"];
        Self::run(&server.url(), "xterm-256color", &shell)
    }

    pub(crate) fn run(url: &str, term: &str, words: &[&str]) -> Self {
        let (master, tty) = open_pty();
        tcsetwinsize(&tty, winsize(24, 80)).unwrap();
        let before = tcgetattr(&tty).unwrap();
        let stdio = || Stdio::from(tty.try_clone().unwrap());
        let child = unignoring("setsid")
            .args(["--ctty", "--wait"])
            .args(words)
            .env("ARBITER_STORE", url)
            .env("PS1", "ready> ")
            .env("TERM", term)
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let size = |n| NonZeroU16::new(n).unwrap();
        let parser = Arc::new(Mutex::new(vt100::Parser::new(size(24), size(80), 0)));
        let is_closed = Arc::new(AtomicBool::new(false));
        let (shown, is_ended) = (parser.clone(), is_closed.clone());
        let mut output = master.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while !is_ended.load(Ordering::SeqCst) {
                let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
                if poll(&mut fds, PollTimeout::from(20_u8)).unwrap() == 0 {
                    continue;
                }
                match output.read(&mut bytes) {
                    Ok(n @ 1..) => shown.lock().unwrap().process(&bytes[..n]),
                    _ => return,
                }
            }
        });
        Self {
            child,
            keyboard: Some(master),
            reader: Some(reader),
            is_closed,
            tty,
            parser,
            before,
        }
    }

    /// Closes the terminal, as when its window or connection is closed.
    pub(crate) fn close(&mut self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.keyboard = None;
        self.reader.take().unwrap().join().unwrap();
    }

    pub(crate) fn types(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.tty, winsize(rows, columns)).unwrap();
        let size = |n| NonZeroU16::new(n).unwrap();
        let mut parser = self.parser.lock().unwrap();
        parser.set_size(size(rows), size(columns));
    }

    pub(crate) fn screen(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until the screen contains a text, which may be broken into lines.
    pub(crate) fn shows(&self, text: &str) {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = words(text);
        let is_shown = eventually(ms(10_000), || words(&self.screen()).contains(&text));
        assert!(is_shown, "no {text:?} on the screen:\n{}", self.screen());
    }

    /// Waits until the screen does not contain a text.
    pub(crate) fn lacks(&self, text: &str) {
        let is_gone = eventually(ms(10_000), || !self.screen().contains(text));
        assert!(is_gone, "{text:?} is on the screen:\n{}", self.screen());
    }

    /// Returns whether the terminal is as it was before: its settings, its screen, its cursor.
    pub(crate) fn is_restored(&self) -> bool {
        let is_screen = {
            let parser = self.parser.lock().unwrap();
            let screen = parser.screen();
            !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
        };
        is_screen && tcgetattr(&self.tty).unwrap() == self.before
    }

    pub(crate) fn is_full_screen(&self) -> bool {
        self.parser.lock().unwrap().screen().alternate_screen()
    }

    /// Waits until the command has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let ended = || matches!(self.child.try_wait(), Ok(Some(_)));
        let has_ended = eventually(ms(10_000), ended);
        assert!(has_ended, "it does not end:\n{}", self.screen());
        self.child.wait().unwrap()
    }

    /// Asserts that the command ends with that status, or of that signal, and restores the terminal.
    pub(crate) fn ends_restored(&mut self, code: Option<i32>, signal: Option<i32>) {
        let status = self.end();
        let found = (status.code(), status.signal());
        assert_eq!(found, (code, signal), "{}", self.screen());
        let is_restored = eventually(ms(2_000), || self.is_restored());
        assert!(is_restored, "{}", self.screen());
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
