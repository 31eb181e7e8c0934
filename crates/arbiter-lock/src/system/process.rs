//! What belongs to one process, and is inert in a copy of it.
//!
//! A forked process has a copy of all that its parent had. Sockets and files are shared with the
//! parent, threads are missing, and a mutex that another thread had locked stays locked. So the
//! process id is compared before a copy is locked, polled, sent on or dropped.

mod leak_in_child;
mod per_process;
mod unless_forked;

use crate::errors::error::Error;
pub(crate) use leak_in_child::LeakInChild;
pub(crate) use per_process::PerProcess;
pub(crate) use unless_forked::UnlessForked;

/// The id of the process that made something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId(u32);

impl ProcessId {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Returns [`Error::Forked`] in every other process.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.is_current() {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }
}
