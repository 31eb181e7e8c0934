//! The exit statuses of `arbiter`. The numbers are part of its interface.

use std::process::ExitCode;

use arbiter_lock::{Error, RefusedKind, UnavailableKind};
use nix::sys::resource::{Resource, setrlimit};

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Success,
    /// The status of the command that was run, or one that the user chose.
    Status(u8),
    /// The command that was run died of this signal, or a waiter received it: arbiter dies of it.
    DieOf(i32),
    /// The command line is wrong.
    Usage,
    /// The key holds other data, or another limit is in force.
    Data,
    /// The store cannot serve.
    Unavailable,
    /// An internal error.
    Software,
    /// A system error: a process cannot be started, or output cannot be written.
    Os,
    /// The lock is held.
    Contended,
    /// The password is wrong, or a right is missing.
    Denied,
    /// The lock was lost while the command ran.
    Lost,
    /// The command reached its `--max-hold`.
    MaxHold,
    /// The command cannot be executed.
    CannotExecute,
    /// The command does not exist.
    NotFound,
}

impl Exit {
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Status(status) => status,
            Self::DieOf(signal) => 128_u8.wrapping_add(signal as u8),
            Self::Usage => 64,
            Self::Data => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::Os => 71,
            Self::Contended => 75,
            Self::Denied => 77,
            Self::Lost => 79,
            Self::MaxHold => 124,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
        }
    }

    /// Returns the exit for an error of the library.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Contended(_) => Self::Contended,
            Error::Lost(_) => Self::Lost,
            Error::Invalid(_) => Self::Usage,
            Error::Refused(refused) => match refused.kind {
                RefusedKind::WrongType
                | RefusedKind::Damaged
                | RefusedKind::LimitDiffers { .. }
                | RefusedKind::AboveLimit { .. } => Self::Data,
                RefusedKind::Denied => Self::Denied,
                RefusedKind::WrongUrl => Self::Usage,
                _ => Self::Unavailable,
            },
            Error::Unavailable(outage) if outage.kind == UnavailableKind::System => Self::Os,
            Error::Closed | Error::Unavailable(_) => Self::Unavailable,
            // The command uses no sessions.
            Error::Deadlock(_) => Self::Software,
            _ => Self::Software,
        }
    }

    /// Ends the process, by the signal that it received if it can die of that.
    pub(crate) fn leave(self) -> ExitCode {
        // Process 1 cannot die of a signal, and ends with the status instead.
        if let Self::DieOf(signal) = self
            && std::process::id() != 1
        {
            // A dump of arbiter's memory would be taken for one of the command.
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            // If that fails, the exit status represents the signal.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
        self.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}
