//! The controlling terminal. Its foreground group gets Ctrl-C and Ctrl-Z, and may read.

use std::fs::File;
use std::io::IsTerminal as _;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The controlling terminal.
pub(super) struct Terminal(File);

impl Terminal {
    pub(super) fn open() -> Option<Self> {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()
            .map(Self)
    }

    /// Returns whether this process's group is in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        self.is_of(getpgrp())
    }

    /// Returns whether the command gets the terminal: arbiter has it, and its stdout is a terminal.
    ///
    /// Otherwise the end of the pipeline, such as a pager, would lose it. There the command gets
    /// the terminal when it asks for it.
    pub(super) fn goes_to_the_command(&self) -> bool {
        self.is_ours() && std::io::stdout().is_terminal()
    }

    /// Puts this process's group into the foreground.
    pub(super) fn take(&self) {
        self.give(getpgrp());
    }

    /// Takes the terminal back from a group. Returns whether the group had it. If the shell has
    /// taken it meanwhile, as after `bg`, the shell keeps it.
    pub(super) fn take_back(&self, group: Pid) -> bool {
        let had_it = self.is_of(group);
        if had_it {
            self.take();
        }
        had_it
    }

    /// Puts a group into the foreground. SIGTTOU is blocked, since it would stop a process in the
    /// background that does this.
    pub(super) fn give(&self, group: Pid) {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGTTOU);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        // The terminal may no longer exist.
        let _ = tcsetpgrp(&self.0, group);
        if let Ok(before) = before {
            let _ = before.thread_set_mask();
        }
    }

    fn is_of(&self, group: Pid) -> bool {
        tcgetpgrp(&self.0).is_ok_and(|foreground| foreground == group)
    }
}
