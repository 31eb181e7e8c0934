//! The terminal: its own screen while the view is shown, and as it was at every end.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::draw::draw;
use super::view::View;

/// Whether the terminal shows the view.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Returns whether stdout is a terminal that has a screen.
pub(super) fn is_usable() -> bool {
    let term = std::env::var_os("TERM").unwrap_or_default();
    io::stdout().is_terminal() && !term.is_empty() && term != "dumb"
}

/// The terminal of the view.
pub(super) struct Screen {
    terminal: Option<Terminal<CrosstermBackend<BufWriter<Output>>>>,
}

impl Screen {
    /// Makes the screen, which is not shown yet. A panic of any thread restores the terminal before
    /// it is printed.
    pub(super) fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                unstopped(restore);
                print(panic);
            }));
        });
        Self { terminal: None }
    }

    /// Returns whether the view is shown, as far as this process knows.
    pub(super) const fn is_shown(&self) -> bool {
        self.terminal.is_some()
    }

    /// Returns whether a thread has panicked, which has restored the terminal.
    pub(super) fn is_taken(&self) -> bool {
        self.is_shown() && !IS_SHOWN.load(Ordering::SeqCst)
    }

    /// Shows the view, on a screen of its own, which is empty then.
    pub(super) fn show(&mut self) -> io::Result<()> {
        // The shell may have changed the terminal meanwhile: after a stop, the new settings are restored.
        self.hide();
        IS_SHOWN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        let mut out = stdout()?;
        // `Terminal::clear` would ask the terminal for its cursor, and wait for the answer.
        execute!(
            out,
            EnterAlternateScreen,
            EnableBracketedPaste,
            Hide,
            Clear(ClearType::All)
        )?;
        let backend = CrosstermBackend::new(BufWriter::new(Output(out)));
        self.terminal = Some(Terminal::new(backend)?);
        Ok(())
    }

    /// Restores the terminal.
    pub(super) fn hide(&mut self) {
        unstopped(restore);
        self.terminal = None;
    }

    /// Draws the view, if it is shown.
    pub(super) fn draw(&mut self, view: &mut View) -> io::Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        terminal.draw(|frame| draw(view, frame, Instant::now()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.hide();
    }
}

/// Writes to the terminal while it shows the view. Later output is dropped: the rest of a frame, and
/// the output of a drop of `Terminal`, which would panic if the terminal was closed.
struct Output(File);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match IS_SHOWN.load(Ordering::SeqCst) {
            true => self.0.write(bytes),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens stdout without the lock of [`io::Stdout`], which a panicking thread may have.
fn stdout() -> io::Result<File> {
    let stdout = io::stdout();
    stdout.as_fd().try_clone_to_owned().map(File::from)
}

/// Restores the terminal, if it shows the view. The terminal may be closed, so errors are ignored.
fn restore() {
    if !IS_SHOWN.swap(false, Ordering::SeqCst) {
        return;
    }
    if let Ok(mut out) = stdout() {
        let _ = execute!(out, DisableBracketedPaste, Show, LeaveAlternateScreen);
    }
    let _ = disable_raw_mode();
}

/// Uses the terminal. In the background, that does not stop this process.
fn unstopped(act: impl FnOnce()) {
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    act();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use nix::pty::openpty;
    use nix::sys::termios::tcgetattr;

    use super::*;

    /// Set in the process that panics.
    const PANICS: &str = "ARBITER_TEST_PANICS";

    #[test]
    fn panic_restores_the_terminal_and_is_printed() {
        if std::env::var_os(PANICS).is_some() {
            let mut screen = Screen::new();
            screen.show().unwrap();
            panic!("a fault on the screen");
        }
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
        let name = "commands::top::screen::tests::panic_restores_the_terminal_and_is_printed";
        let status = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(PANICS, "1")
            .env("RUST_BACKTRACE", "0")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .status()
            .unwrap();
        assert!(!status.success());
        assert_eq!(tcgetattr(&pty.slave).unwrap(), before);
        drop(pty.slave);
        let mut shown = Vec::new();
        // It ends with an error, since the terminal has no process.
        let _ = File::from(pty.master).read_to_end(&mut shown);
        let shown = String::from_utf8_lossy(&shown);
        let (_, after) = shown.split_once("\x1b[?1049h").unwrap();
        let (_, after) = after.split_once("\x1b[?1049l").unwrap();
        assert!(after.contains("a fault on the screen"), "{shown}");
    }
}
