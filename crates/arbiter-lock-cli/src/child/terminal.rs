//! Who has the terminal: the group in its foreground gets Ctrl-C and Ctrl-Z, and may read.

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

    /// Whether this process's group is in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        self.is_of(getpgrp())
    }

    /// Whether the command is to have the terminal: arbiter has it, and is not in the middle of
    /// a pipeline, whose end (a pager, say) would lose it. There the command gets it when it asks.
    pub(super) fn goes_to_the_command(&self) -> bool {
        self.is_ours() && std::io::stdout().is_terminal()
    }

    /// Puts this process's group into the foreground.
    pub(super) fn take(&self) {
        self.give(getpgrp());
    }

    /// Takes the terminal back from a group. Where the shell has taken it meanwhile, as after
    /// `bg`, it stays the shell's. Whether the group had it is answered.
    pub(super) fn take_back(&self, group: Pid) -> bool {
        let had_it = self.is_of(group);
        if had_it {
            self.take();
        }
        had_it
    }

    /// Puts a group into the foreground. A process in the background that does so would be
    /// stopped, unless it blocks the signal.
    pub(super) fn give(&self, group: Pid) {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGTTOU);
        let before = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK);
        // The terminal may be gone.
        let _ = tcsetpgrp(&self.0, group);
        if let Ok(before) = before {
            let _ = before.thread_set_mask();
        }
    }

    fn is_of(&self, group: Pid) -> bool {
        tcgetpgrp(&self.0).is_ok_and(|foreground| foreground == group)
    }
}
