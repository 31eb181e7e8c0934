//! Processes that the kernel kills when this one ends, even by a signal.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

type Start = (Command, Sender<io::Result<Child>>);

/// The thread that starts them all: the kernel kills them when the thread that started them ends.
static STARTER: LazyLock<Sender<Start>> = LazyLock::new(|| {
    let (sender, starts) = channel::<Start>();
    thread::spawn(move || {
        for (mut command, reply) in starts {
            // A test that has failed needs no reply.
            let _ = reply.send(command.spawn());
        }
    });
    sender
});

/// Returns the command of a program that [`spawn`] binds to this process.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts a process that ends with this one.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, child) = channel();
    STARTER.send((command, reply)).expect("the starter runs");
    child.recv().expect("the starter replies")
}
