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
mod format;
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
mod sockets;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arbiter_lock_core::Grant;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

pub(crate) use folder::default_url;

use super::{Failure, KeyPrefix, Push, Registry, Source};
use crate::events::event::EventQueue;
use crate::store::blocking_thread::on_blocking_thread;
use denied::Denied;
use file_lock::FileLock;
use liveness::{Liveness, Process, ProcessState};
use post::Post;

/// A folder as a store.
struct Embedded {
    folder: PathBuf,
    key_prefix: KeyPrefix,
    /// This process's use of the folder; part of its channels.
    process: Process,
    events: EventQueue,
    opened: OnceLock<Arc<Opened>>,
    opening: Mutex<Option<Opening>>,
}

/// An opening that all callers wait for.
type Opening = Shared<BoxFuture<'static, Result<Arc<Opened>, Failure>>>;

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
    fn new(folder: PathBuf, key_prefix: KeyPrefix, events: EventQueue) -> Self {
        Self {
            folder,
            key_prefix,
            process: Process::random(),
            events,
            opened: OnceLock::new(),
            opening: Mutex::default(),
        }
    }

    /// Returns the opening in progress, or begins one. It continues if its callers are dropped.
    fn opening(self: &Arc<Self>) -> Opening {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ongoing) = opening.as_ref().filter(|ongoing| ongoing.peek().is_none()) {
            return ongoing.clone();
        }
        let (folder, process, events) = (
            self.folder.clone(),
            self.process.clone(),
            self.events.clone(),
        );
        let store = Arc::downgrade(self);
        let open = move || {
            let opened = open::open(&folder, &process, events)?;
            // Without the store, the folder is left again.
            if let Some(store) = store.upgrade() {
                let _: &Arc<Opened> = store.opened.get_or_init(|| opened.clone());
            }
            Ok(opened)
        };
        let folder = self.folder.clone();
        let begun = async move {
            let opened = on_blocking_thread(open).await;
            opened.map_err(|e| failure::of_io(&e, &folder))?
        };
        opening.insert(begun.boxed().shared()).clone()
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
