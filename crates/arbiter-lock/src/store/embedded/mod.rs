//! The embedded store: the core on the rows of a file, shared by the processes of one machine.
//!
//! A folder contains a SQLite file (`arbiter.db`) and a **file lock** (`gate`), which is locked
//! around each step, so that processes take turns evenly. Each process that uses the folder has a
//! **liveness file**, which the system unlocks when the process ends. It also has two sockets: one
//! receives grants, and waiters of other processes connect to the other one to notice the process's
//! end.
//!
//! The rules are the core's. This store adds one: the requests of a process that has ended are
//! ended at once.

mod boot;
mod connections;
mod database;
mod denied;
mod failure;
mod file_lock;
mod folder;
pub(super) mod handle;
mod liveness;
mod log;
mod open;
mod post;
mod predecessors;
mod reaper;
mod records;
mod rights;
mod row;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arbiter_lock_core::Grant;

pub(crate) use folder::default_url;

use super::{Failure, Push, Registry, Source};
use crate::events::event::EventQueue;
use denied::Denied;
use file_lock::FileLock;
use liveness::{Liveness, Process, ProcessState};
use post::Post;

/// A folder as a store.
struct Embedded {
    folder: PathBuf,
    /// This process's use of the folder; part of its channels.
    process: Process,
    events: EventQueue,
    opened: OnceLock<Arc<Opened>>,
    opening: Mutex<()>,
}

/// A folder that has been opened.
struct Opened {
    process: Process,
    file_lock: FileLock,
    liveness: Liveness,
    post: Post,
    listeners: Mutex<HashMap<Arc<str>, Weak<Registry>>>,
    /// The processes whose end a waiter of this process waits for.
    watched: Mutex<HashSet<Process>>,
    denied: Denied,
}

impl Embedded {
    fn new(folder: PathBuf, events: EventQueue) -> Self {
        Self {
            folder,
            process: Process::random(),
            events,
            opened: OnceLock::new(),
            opening: Mutex::default(),
        }
    }

    /// Opens the folder, unless it is open. Blocks until the file lock is free, at most for
    /// `limit`.
    fn open(&self, limit: Duration) -> Result<Arc<Opened>, Failure> {
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = self.opened.get() {
            return Ok(opened.clone());
        }
        let opened = open::open(&self.folder, &self.process, self.events.clone(), limit)?;
        Ok(self.opened.get_or_init(|| opened).clone())
    }
}

impl fmt::Display for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file://{}", self.folder.display())
    }
}

impl Opened {
    fn listeners(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Registry>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, HashSet<Process>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registries(&self) -> Vec<Arc<Registry>> {
        self.listeners()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Returns the state of a process. Records missing rights to its files.
    fn state_of(&self, process: &Process) -> ProcessState {
        let state = self.liveness.of(process);
        if let ProcessState::Unknown(why) = state {
            let file = liveness::file(self.post.folder(), process);
            self.denied.note(&file, &why.into());
        }
        state
    }

    /// Returns whether this process has waiters.
    fn has_waiters(&self) -> bool {
        self.registries()
            .iter()
            .any(|registry| !registry.is_empty())
    }

    /// Returns whether a client listens on a channel, in any process.
    fn listens(&self, channel: &str) -> bool {
        match Process::of_channel(channel) {
            Some(process) if process == self.process => self
                .listeners()
                .get(channel)
                .is_some_and(|registry| 0 < registry.strong_count()),
            Some(process) => self.post.is_bound(&process, &self.denied),
            None => false,
        }
    }

    /// Notifies the requests that a step has granted. A poll finds a grant whose message is lost.
    fn notify(&self, granted: Vec<Grant>) {
        for grant in granted {
            match Process::of_channel(&grant.channel) {
                Some(process) if process == self.process => {
                    let channel = grant.channel.clone();
                    self.deliver(&channel, grant.into());
                }
                Some(process) => self.post.send(&process, &grant),
                None => {}
            }
        }
    }

    fn deliver(&self, channel: &str, push: Push) {
        let registry = self.listeners().get(channel).and_then(Weak::upgrade);
        if let Some(registry) = registry {
            registry.deliver(Source::default(), push);
        }
    }
}
