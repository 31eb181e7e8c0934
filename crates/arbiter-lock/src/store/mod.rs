//! What keeps the truth: carries a request to it, brings its reply, delivers grants.
//!
//! A store decides nothing about time or order that the core has a rule for. Each runtime that
//! uses a client has a [`StoreHandle`] of its own, with its channel and its registry of waiters.
//! A new store implements [`Store`] and [`Handle`] in a folder of its own, and has a line in
//! [`open`](open::open).

#[cfg(any(feature = "redis", feature = "embedded"))]
mod blocking_thread;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
mod handle;
pub(crate) mod health;
pub(crate) mod memory;
pub(crate) mod open;
mod pattern;
#[cfg(feature = "redis")]
mod redis;
mod registry;
mod settings;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Contender, Ended, Moment, Name, Request};

pub(crate) use crate::errors::failure::{Failure, FailureKind};
use crate::events::metrics::Series;
use crate::system::clock::Clock;
pub(crate) use handle::{Handle, Sending, StoreHandle};
pub(crate) use health::StoreMonitor;
pub(crate) use pattern::Pattern;
pub(crate) use registry::{Push, Registry, Slot, Woken};
#[cfg(feature = "redis")]
pub(crate) use settings::AddressMap;
pub(crate) use settings::ServerSettings;

/// A hold to release, or a place in the queue to leave, that nobody waits for.
#[derive(Clone, Debug)]
pub(crate) struct PendingRelease {
    pub(crate) name: Name,
    pub(crate) contender: Arc<Contender>,
    /// Whether to leave a tombstone; the same at every sending.
    pub(crate) tombstone: bool,
    /// The hold that it releases, if it does.
    pub(crate) held: Option<EndedHold>,
}

/// A hold that its guard has let go.
#[derive(Clone, Debug)]
pub(crate) struct EndedHold {
    pub(crate) fence: u64,
    /// How long it was held.
    pub(crate) held: Duration,
    pub(crate) series: Series,
}

impl PendingRelease {
    /// Whether it releases a hold.
    pub(crate) fn is_release(&self) -> bool {
        self.held.is_some()
    }

    /// The request to send.
    pub(crate) fn request(&self) -> Request {
        Request::End {
            contender: self.contender.clone(),
            tombstone: self.tombstone,
        }
    }
}

/// What a store answered to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<T> {
    pub(crate) reply: T,
    /// The store's time of the step; zero where a reply carries none: to an end, a renewal or a
    /// write.
    pub(crate) at: Moment,
    /// There is more to hand off: repeat the request at once.
    pub(crate) again: bool,
}

/// Some of the names of a store.
pub(crate) struct Page {
    pub(crate) names: Vec<Name>,
    /// Where the next page begins, unless this is the last.
    pub(crate) next: Option<String>,
    /// Whether only those count that are free: the others are on another page.
    pub(crate) free_only: bool,
}

/// How many names a page has at most.
pub(crate) const PAGE: usize = 1_000;

impl Page {
    /// Makes a page of names in order, of which there may be more.
    pub(crate) fn in_order(mut names: Vec<Name>) -> Self {
        let is_last = names.len() < PAGE;
        names.truncate(PAGE);
        let last = names.last().filter(|_| !is_last);
        Self {
            next: last.map(|name| name.as_str().to_owned()),
            names,
            free_only: false,
        }
    }
}

/// A store, before a runtime uses it.
///
/// Its `Display` is its URL without secrets.
pub(crate) trait Store: fmt::Display + Send + Sync {
    /// Returns a handle for the runtime in which it will be used; grants go to that registry.
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle>;

    /// Returns a handle for requests that never wait.
    fn handle_without_notifications(self: Arc<Self>) -> Box<dyn Handle> {
        self.handle(&Arc::default())
    }

    /// Returns the clock by which leases are measured.
    fn clock(&self) -> Clock {
        Clock::Boot
    }

    /// Whether each handle has a connection of its own, which can fail apart from the others.
    fn has_connections(&self) -> bool {
        false
    }

    /// Returns the file by which the store sees that this process lives, if there is one.
    fn liveness_file(&self) -> Option<PathBuf> {
        None
    }

    /// Releases without waiting for anything, if the store can.
    fn end_at_once(&self, _: &PendingRelease) -> Option<Ended> {
        None
    }

    /// The client is gone, and has nothing left to do there.
    fn leave(&self) {}

    /// Returns the store whose faults tests inject, if it is one.
    #[cfg(feature = "testing")]
    fn as_memory(&self) -> Option<&memory::MemoryStore> {
        None
    }
}
