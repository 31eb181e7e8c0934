//! What belongs to one process, and is inert in a copy of it.
//!
//! A forked process has a copy of all that its parent had. Sockets and files are shared with the
//! parent, threads are missing, and a mutex that another thread had locked stays locked. So the
//! generation is compared before a copy is locked, polled, sent on or dropped.

mod leak_in_child;
mod per_process;
mod unless_forked;

use crate::errors::error::Error;
pub(crate) use leak_in_child::LeakInChild;
pub(crate) use per_process::PerProcess;
pub(crate) use unless_forked::UnlessForked;

/// How often the process and its ancestors had been forked when something was made.
///
/// A handler of `pthread_atfork` counts the forks, so that a look costs a load from memory, where
/// a look at the process id is a system call. A child of `clone` or `_Fork` that runs no handlers
/// is not told apart.
#[derive(Clone, Debug)]
pub(crate) struct ForkGeneration(forkguard::Guard);

impl ForkGeneration {
    pub(crate) fn current() -> Self {
        Self(forkguard::new())
    }

    pub(crate) fn is_current(&self) -> bool {
        !self.0.clone().detected_fork()
    }

    /// Returns [`Error::Forked`] in every other process.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_current() {
            Ok(())
        } else {
            Err(Error::Forked)
        }
    }
}
