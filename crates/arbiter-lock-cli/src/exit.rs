//! What `arbiter` answers when it ends. The numbers are part of its face.

use std::process::ExitCode;

use arbiter_lock::{Error, RefusedKind};

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Success,
    /// The status of the command that was run, or one that the user chose.
    Status(u8),
    /// The command that was run died of this signal.
    ChildDied(i32),
    /// Arbiter was sent this signal, and dies of it.
    DieOf(i32),
    /// The command line is wrong.
    Usage,
    /// The key holds something else, or another limit is in force.
    Data,
    /// The store cannot serve.
    Unavailable,
    /// A fault of ours.
    Software,
    /// The system refuses: no process can be started, nothing can be written.
    Os,
    /// Somebody else has it.
    Contended,
    /// Password or rights.
    Denied,
    /// The lock was lost while the command ran.
    Lost,
    /// The command ran for as long as it may.
    MaxHold,
    /// The command cannot be executed.
    CannotExecute,
    /// There is no such command.
    NotFound,
}

impl Exit {
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Status(status) => status,
            Self::ChildDied(signal) | Self::DieOf(signal) => 128_u8.wrapping_add(signal as u8),
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

    /// The answer to an error of the library's.
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
            Error::Closed | Error::Unavailable(_) => Self::Unavailable,
            // The command uses no sessions.
            Error::Deadlock(_) => Self::Software,
            _ => Self::Software,
        }
    }

    /// Ends the process: by the signal that it was sent, where it can die of one.
    pub(crate) fn leave(self) -> ExitCode {
        // Process 1 cannot die of a signal, and ends with the status instead.
        if let Self::DieOf(signal) = self
            && std::process::id() != 1
        {
            // Should it fail, the status says the same.
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
