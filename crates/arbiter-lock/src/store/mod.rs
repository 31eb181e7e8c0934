//! What keeps the truth: carries a step to it, brings its reply, delivers grants.
//!
//! A store decides nothing about time or order that the core has a rule for. Each runtime that
//! uses a client has a [`StoreHandle`] of its own, with its channel and its registry of waiters.

#[cfg(any(feature = "redis", feature = "embedded"))]
mod blocking_thread;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
mod handle;
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
mod registry;
mod renewal;
mod settings;
mod write;

use std::fmt;
use std::sync::Arc;

use arbiter_lock_core::{Ended, Moment, Name, Request};

use crate::system::process::ForkGeneration;

pub(crate) use crate::errors::failure::{Failure, FailureKind};
pub(crate) use handle::StoreHandle;
pub(crate) use registry::{Push, Registry, Slot, Woken};
pub(crate) use renewal::Renewal;
pub(crate) use settings::ServerSettings;
pub(crate) use write::Write;

/// A request to end.
#[derive(Clone, Debug)]
pub(crate) struct PendingRelease {
    pub(crate) name: Name,
    pub(crate) request: Arc<Request>,
    /// Whether to leave a tombstone; the same at every sending.
    pub(crate) tombstone: bool,
    /// The fence of the hold that it releases, if it does.
    pub(crate) held: Option<u64>,
}

impl PendingRelease {
    /// Whether it releases a hold.
    pub(crate) fn is_release(&self) -> bool {
        self.held.is_some()
    }
}

/// What a store said to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Envelope<T> {
    pub(crate) reply: T,
    /// The store's time of the step.
    pub(crate) at: Moment,
    /// There is more to hand over: repeat the step at once.
    pub(crate) again: bool,
}

/// What a store said to an end. The shortest way of it tells no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedEnvelope {
    pub(crate) reply: Ended,
    /// There is more to hand over: repeat the step at once.
    pub(crate) again: bool,
}

/// A store, before anybody is connected to it.
#[derive(Clone)]
pub(crate) enum Store {
    Memory(Arc<memory::MemoryStore>),
    #[cfg(feature = "embedded")]
    Embedded(Arc<embedded::Embedded>),
    #[cfg(feature = "redis")]
    Redis(Arc<redis::Server>),
}

impl Store {
    /// The client is gone, and has nothing left to do there.
    pub(crate) fn leave(&self) {
        #[cfg(feature = "embedded")]
        if let Self::Embedded(store) = self {
            store.leave();
        }
    }

    /// Whether each handle has a connection of its own, which can fail apart from the others.
    pub(crate) fn has_connections(&self) -> bool {
        match self {
            Self::Memory(_) => false,
            #[cfg(feature = "embedded")]
            Self::Embedded(_) => false,
            #[cfg(feature = "redis")]
            Self::Redis(_) => true,
        }
    }

    /// A handle for the runtime in which it will be used, of a client of that process.
    pub(crate) fn handle(&self, process: &ForkGeneration) -> StoreHandle {
        StoreHandle::new(self, process)
    }

    /// A handle for requests that never wait.
    pub(crate) fn handle_without_notifications(&self, process: &ForkGeneration) -> StoreHandle {
        StoreHandle::without_notifications(self, process)
    }

    /// The memory store that it is, if it is one.
    pub(crate) fn world(&self) -> Option<&memory::MemoryStore> {
        match self {
            Self::Memory(world) => Some(world),
            #[cfg(feature = "embedded")]
            Self::Embedded(_) => None,
            #[cfg(feature = "redis")]
            Self::Redis(_) => None,
        }
    }

    /// The file by which the store sees that this process lives, if it does.
    pub(crate) fn liveness_file(&self) -> Option<std::path::PathBuf> {
        match self {
            Self::Memory(_) => None,
            #[cfg(feature = "embedded")]
            Self::Embedded(store) => Some(store.liveness_file()),
            #[cfg(feature = "redis")]
            Self::Redis(_) => None,
        }
    }

    /// Ends a request without waiting for anything, where the store can.
    pub(crate) fn end_at_once(&self, order: &PendingRelease) -> Option<Ended> {
        self.world().and_then(|world| world.end_at_once(order))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(_) => f.write_str("memory:"),
            #[cfg(feature = "embedded")]
            Self::Embedded(store) => store.fmt(f),
            #[cfg(feature = "redis")]
            Self::Redis(server) => server.fmt(f),
        }
    }
}
