//! The shim: the new process before it becomes the command. It makes sure that it dies with
//! arbiter, and takes the terminal if arbiter had it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::unistd::{Pid, getppid};

use super::terminal::Terminal;
use crate::exit::Exit;
use crate::output;

/// The argument that makes arbiter the shim.
const WORD: &str = "--become-the-command";

/// Returns a command that runs arbiter itself, even if an upgrade has replaced its file.
pub(super) fn own_program() -> Command {
    let program = if cfg!(target_os = "linux") {
        "/proc/self/exe".into()
    } else {
        std::env::current_exe().unwrap_or_else(|_| "arbiter".into())
    };
    let mut own = Command::new(program);
    own.arg0("arbiter");
    own
}

/// Returns the command line of the shim.
pub(super) fn command(takes_terminal: bool, command: &[OsString]) -> Command {
    let mut shim = own_program();
    shim.arg(WORD).arg(Pid::this().to_string());
    shim.arg(if takes_terminal { "terminal" } else { "-" })
        .args(command);
    shim
}

/// Becomes the command if this process is the shim. Returns an exit only if that fails.
pub(crate) fn become_the_command() -> Option<Exit> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != WORD {
        return None;
    }
    let parent = args
        .next()?
        .to_string_lossy()
        .parse()
        .ok()
        .map(Pid::from_raw)?;
    let takes_terminal = args.next()? == "terminal";
    let command = args.next()?;
    die_with_parent();
    if getppid() != parent {
        return Some(Exit::Software); // the parent died before the death signal was set
    }
    if takes_terminal && let Some(terminal) = Terminal::open() {
        terminal.take();
    }
    let error = Command::new(&command).args(args).exec();
    output::say(&format!(
        "cannot execute {}: {error}",
        command.to_string_lossy()
    ));
    Some(match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::CannotExecute,
    })
}

#[cfg(target_os = "linux")]
fn die_with_parent() {
    // Without support by the kernel, the documented limit applies.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
