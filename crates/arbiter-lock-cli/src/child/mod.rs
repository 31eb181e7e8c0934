//! The command that runs under the lock, as a process group.

mod command;
mod job;
mod process;
mod program;
pub(crate) mod shim;
mod terminal;
pub(crate) mod watcher;

pub(crate) use command::find;
pub(crate) use job::stop as stop_job;
pub(crate) use process::{Change, Child, Ended};
pub(crate) use watcher::check;
