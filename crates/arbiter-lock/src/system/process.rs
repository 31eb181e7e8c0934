//! Values that belong to one process, and are inert in a forked one.
//!
//! A forked process has a copy of its parent's memory. Sockets and files are shared with the
//! parent, threads are missing, and a mutex that another thread had locked stays locked. So the
//! fork generation is compared before a copy is locked, polled, sent on or dropped.

#[cfg(feature = "redis")]
mod lazy;
mod leak_in_child;
mod per_process;
mod unless_forked;

use crate::errors::error::Error;
#[cfg(feature = "redis")]
pub(crate) use lazy::Lazy;
pub(crate) use leak_in_child::LeakInChild;
pub(crate) use per_process::PerProcess;
pub(crate) use unless_forked::UnlessForked;

/// The number of forks of the process and its ancestors when a value was made.
///
/// A `pthread_atfork` handler counts the forks, so a check is a load from memory, while reading the
/// process id is a system call. A child of `clone` or `_Fork`, which run no handlers, is not
/// detected.
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
