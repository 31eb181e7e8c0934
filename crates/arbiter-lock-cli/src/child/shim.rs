//! The shim: the new process before it becomes the command. It makes sure that it dies with
//! arbiter, and takes the terminal if arbiter had it.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Pid, getppid};

use super::program;
use super::terminal::Terminal;
use crate::exit::Exit;
use crate::output;

/// The argument that makes arbiter the shim.
const WORD: &str = "--become-the-command";

/// Returns the command line of the shim.
pub(super) fn command(takes_terminal: bool, command: &[OsString]) -> io::Result<Command> {
    let mut shim = program::again()?;
    shim.arg(WORD).arg(Pid::this().to_string());
    shim.arg(if takes_terminal { "terminal" } else { "-" })
        .args(command);
    Ok(shim)
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
    let mut becoming = Command::new(&command);
    address_to_the_command(&mut becoming, parent);
    let error = becoming.args(args).exec();
    let is_not_found = error.kind() == ErrorKind::NotFound;
    let missing = match is_not_found && Path::new(&command).exists() {
        true => " (its loader or interpreter is missing)",
        false => "",
    };
    output::say(&format!(
        "cannot execute {}: {error}{missing}",
        command.to_string_lossy()
    ));
    Some(match is_not_found {
        true => Exit::NotFound,
        false => Exit::CannotExecute,
    })
}

/// Names the command in the variables by which a service manager addresses arbiter: those of its
/// sockets and its watchdog.
fn address_to_the_command(command: &mut Command, arbiter: Pid) {
    let is_for_arbiter = |name| std::env::var(name).is_ok_and(|pid| pid == arbiter.to_string());
    for name in ["LISTEN_PID", "WATCHDOG_PID"] {
        if is_for_arbiter(name) {
            command.env(name, Pid::this().to_string());
        }
    }
    if is_for_arbiter("LISTEN_PID") {
        command.env_remove("LISTEN_PIDFDID"); // of arbiter's process, and optional
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent() {
    // Without support by the kernel, the documented limit applies.
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL);
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent() {}
