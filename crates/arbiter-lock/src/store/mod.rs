//! The store: it carries requests, returns their replies, and delivers grants.
//!
//! The core decides about time and order, not the store. Each runtime that uses a client has its
//! own [`StoreHandle`], with its channel and its registry of waiters. A new store implements
//! [`Store`] and [`Handle`] in its own folder, and has a line in [`open`](open::open).

pub(crate) mod acknowledgement;
#[cfg(any(feature = "redis", feature = "embedded", feature = "postgres"))]
mod blocking_thread;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod client_name;
#[cfg(any(feature = "embedded", feature = "postgres"))]
mod columns;
pub(crate) mod credentials;
pub(crate) mod diagnosis;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
mod handle;
pub(crate) mod health;
pub(crate) mod key_prefix;
pub(crate) mod memory;
pub(crate) mod open;
mod pattern;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod registry;
pub(crate) mod settings;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod store_file;
pub(crate) mod stream;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod tcp;
#[cfg(all(test, any(feature = "embedded", feature = "postgres")))]
mod tests;
#[cfg_attr(
    not(all(feature = "tls", any(feature = "redis", feature = "postgres"))),
    expect(dead_code, reason = "only servers with TLS have settings of it")
)]
#[cfg_attr(
    not(feature = "tls"),
    expect(unreachable_pub, reason = "a client without TLS has no settings of it")
)]
pub(crate) mod tls;
#[cfg(any(feature = "redis", feature = "postgres"))]
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Contender, Ended, Moment, Name, Request};
use tokio::sync::watch;

pub(crate) use crate::errors::failure::{Failure, FailureKind};
use crate::errors::invalid::Invalid;
use crate::events::metrics::Series;
use crate::system::clock::Clock;
pub(crate) use acknowledgement::Acknowledgement;
#[cfg(feature = "redis")]
pub(crate) use handle::Destination;
pub(crate) use handle::{Handle, Sending, StoreHandle};
pub(crate) use health::StoreMonitor;
pub(crate) use key_prefix::KeyPrefix;
pub(crate) use pattern::Pattern;
pub(crate) use registry::{Push, PushedGrant, Registry, Slot, Source, Woken};
#[cfg(feature = "redis")]
pub(crate) use settings::AddressMap;
pub(crate) use settings::ServerSettings;

/// A pending release: ends a hold or leaves the queue, without a waiting caller.
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
    /// Returns whether it releases a hold.
    pub(crate) fn is_release(&self) -> bool {
        self.held.is_some()
    }

    /// Returns the request to send.
    pub(crate) fn request(&self) -> Request {
        Request::End {
            contender: self.contender.clone(),
            tombstone: self.tombstone,
        }
    }
}

/// The answer of a store to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<T> {
    pub(crate) reply: T,
    /// The store's time of the step. It is zero if the reply carries none, as to an end, a renewal
    /// or a write.
    pub(crate) at: Moment,
    /// Whether there is more to hand off, so that the request is repeated at once.
    pub(crate) again: bool,
    /// Where the time is from.
    pub(crate) source: Source,
}

impl<T> Envelope<T> {
    /// Makes the answer of a store with one clock.
    pub(crate) fn new(reply: T, at: Moment, again: bool) -> Self {
        Self {
            reply,
            at,
            again,
            source: Source::default(),
        }
    }
}

/// Some of the names of a store.
pub(crate) struct Page {
    pub(crate) names: Vec<Name>,
    /// The cursor of the next page, unless this is the last.
    pub(crate) next: Option<String>,
    /// Whether only those count that are free: the others are on another page.
    pub(crate) free_only: bool,
    /// Whether the list begins again, since the cursor was another server's.
    pub(crate) is_restart: bool,
}

/// The maximum number of names on a page.
pub(crate) const PAGE: usize = 1_000;

impl Page {
    /// Makes a page of the names of keys in order, which all have the prefix. If it is full, there
    /// may be more.
    pub(crate) fn in_order<K: AsRef<str>>(prefix: &KeyPrefix, keys: &[K]) -> Self {
        let keys = &keys[..PAGE.min(keys.len())];
        let last = keys.last().filter(|_| keys.len() == PAGE);
        let cursor = last.and_then(|key| key.as_ref().strip_prefix(prefix.as_str()));
        let names = keys.iter().filter_map(|key| prefix.name_of(key.as_ref()));
        Self {
            next: cursor.map(str::to_owned),
            names: names.filter_map(|name| Name::new(name).ok()).collect(),
            free_only: false,
            is_restart: false,
        }
    }

    /// Makes a page without names, after which the list begins again.
    #[cfg(feature = "redis")]
    pub(crate) fn restart() -> Self {
        Self {
            names: Vec::new(),
            next: Some(String::new()),
            free_only: false,
            is_restart: true,
        }
    }
}

/// A store, before a runtime uses it.
///
/// Its `Display` is its URL without secrets.
pub(crate) trait Store: fmt::Display + Send + Sync {
    /// Returns a handle for the runtime in which it will be used. Grants go to the registry.
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle>;

    /// Returns a handle for requests that never wait.
    fn handle_without_notifications(self: Arc<Self>) -> Box<dyn Handle> {
        self.handle(&Arc::default())
    }

    /// Returns the prefix of this client's keys.
    fn key_prefix(&self) -> &KeyPrefix;

    /// Returns the clock by which leases are measured.
    fn clock(&self) -> Clock {
        Clock::Boot
    }

    /// Returns whether each handle has its own connection, which can fail alone.
    fn has_connections(&self) -> bool {
        false
    }

    /// Returns the file that shows the store that this process lives, if there is one.
    fn liveness_file(&self) -> Option<PathBuf> {
        None
    }

    /// Returns why the store cannot give that acknowledgement, if it cannot.
    fn check_acknowledgement(&self, _: Acknowledgement) -> Result<(), Invalid> {
        let message = "the store has no replicas to acknowledge a hold: it is one machine";
        Err(Invalid::new("replicas", message))
    }

    /// Returns the statement that makes a transaction of the store's database fail unless a hold is
    /// in force. Its parameters are the name and the fence. `None` for a store without a statement.
    #[cfg(feature = "postgres")]
    fn guard_sql(&self) -> Option<String> {
        None
    }

    /// Changes when another server replaces the current one, if that is possible. The new server
    /// may not know the latest grants.
    fn switches(&self) -> Option<watch::Receiver<()>> {
        None
    }

    /// Releases without waiting for anything, if the store can.
    fn end_at_once(&self, _: &PendingRelease) -> Option<Ended> {
        None
    }

    /// Notes that the client has ended, and left nothing to do.
    fn leave(&self) {}

    /// Returns the store whose faults tests inject, if it is one.
    #[cfg(feature = "testing")]
    fn as_memory(&self) -> Option<&memory::MemoryStore> {
        None
    }
}
