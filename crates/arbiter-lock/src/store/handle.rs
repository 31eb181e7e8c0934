//! One runtime's way to the store.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, Name, Renewed, Request, Resized, Run, Status, Tried, Written,
};

use super::{
    EndedEnvelope, Envelope, Failure, FailureKind, Registry, Renewal, Store, Write, memory,
};
use crate::system::process::ProcessId;
use crate::system::rng;

/// One runtime's way to the store: every step is sent once, is answered or fails within its
/// limit and the store's own, and is never sent again by the link itself. In a forked process
/// nothing is sent.
pub(crate) struct StoreHandle {
    process: ProcessId,
    registry: Arc<Registry>,
    channel: Arc<str>,
    way: AnyHandle,
}

enum AnyHandle {
    Memory(memory::MemoryHandle),
    #[cfg(feature = "embedded")]
    Embedded(super::embedded::EmbeddedHandle),
    #[cfg(feature = "redis")]
    Redis(super::redis::RedisHandle),
}

/// Calls the same step of whichever store it is.
macro_rules! on {
    ($link:expr, $way:ident => $call:expr) => {{
        $link.check_process()?;
        match &$link.way {
            AnyHandle::Memory($way) => $call.await,
            #[cfg(feature = "embedded")]
            AnyHandle::Embedded($way) => $call.await,
            #[cfg(feature = "redis")]
            AnyHandle::Redis($way) => $call.await,
        }
    }};
}

impl StoreHandle {
    pub(super) fn new(store: &Store, process: ProcessId) -> Self {
        let registry = Arc::new(Registry::default());
        let channel: Arc<str> = match store {
            #[cfg(feature = "embedded")]
            Store::Embedded(store) => store.channel(),
            _ => format!("arbiter.wake:{:032x}", rng::draw::<u128>()).into(),
        };
        let way = match store {
            Store::Memory(world) => AnyHandle::Memory(world.way(channel.clone(), &registry)),
            #[cfg(feature = "embedded")]
            Store::Embedded(store) => AnyHandle::Embedded(store.way(channel.clone(), &registry)),
            #[cfg(feature = "redis")]
            Store::Redis(server) => AnyHandle::Redis(server.way(channel.clone(), &registry)),
        };
        Self {
            process,
            registry,
            channel,
            way,
        }
    }

    /// A handle for requests that never wait.
    pub(super) fn deaf(store: &Store, process: ProcessId) -> Self {
        match store {
            Store::Memory(_) => Self::new(store, process),
            #[cfg(feature = "embedded")]
            Store::Embedded(_) => Self::new(store, process),
            #[cfg(feature = "redis")]
            Store::Redis(server) => Self {
                process,
                registry: Arc::default(),
                channel: "".into(),
                way: AnyHandle::Redis(server.deaf_way()),
            },
        }
    }

    /// The waiters of this handle.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The channel on which its waiters are notified of grants.
    pub(crate) fn channel(&self) -> &Arc<str> {
        &self.channel
    }

    fn check_process(&self) -> Result<(), Failure> {
        if self.process.is_current() {
            return Ok(());
        }
        Err(Failure::before_sending(FailureKind::Forked, ""))
    }

    /// Checks within the limit that the store answers and supports the protocol.
    pub(crate) async fn probe(&self, limit: Duration) -> Result<(), Failure> {
        on!(self, way => way.probe(limit))
    }

    /// Establishes the connection within the limit, if there is one.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<(), Failure> {
        on!(self, way => way.connect(limit))
    }

    /// Returns how long the way to the store and back takes, as last measured.
    pub(crate) fn round_trip(&self) -> Duration {
        match &self.way {
            AnyHandle::Memory(_) => Duration::ZERO,
            #[cfg(feature = "embedded")]
            AnyHandle::Embedded(_) => Duration::ZERO,
            #[cfg(feature = "redis")]
            AnyHandle::Redis(way) => way.round_trip(),
        }
    }

    pub(crate) async fn acquire(
        &self,
        name: &Name,
        request: &Request,
        ticket: Option<u64>,
        limit: Duration,
    ) -> Result<Envelope<Acquired>, Failure> {
        on!(self, way => way.acquire(name, request, ticket, limit))
    }

    pub(crate) async fn try_acquire(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Tried>, Failure> {
        on!(self, way => way.try_acquire(name, request, limit))
    }

    pub(crate) async fn renew(
        &self,
        renewals: &[Renewal<'_>],
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        on!(self, way => way.renew(renewals, limit))
    }

    pub(crate) async fn end(
        &self,
        name: &Name,
        request: &Request,
        tombstone: bool,
        limit: Duration,
    ) -> Result<EndedEnvelope, Failure> {
        on!(self, way => way.end(name, request, tombstone, limit))
    }

    pub(crate) async fn break_hold(
        &self,
        name: &Name,
        fence: u64,
        at_once: bool,
        limit: Duration,
    ) -> Result<Envelope<Broken>, Failure> {
        on!(self, way => way.break_hold(name, fence, at_once, limit))
    }

    pub(crate) async fn downgrade(
        &self,
        renewal: &Renewal<'_>,
        limit: Duration,
    ) -> Result<Envelope<Downgraded>, Failure> {
        on!(self, way => way.downgrade(renewal, limit))
    }

    pub(crate) async fn resize(
        &self,
        name: &Name,
        permits: NonZeroU32,
        limit: Duration,
    ) -> Result<Envelope<Resized>, Failure> {
        on!(self, way => way.resize(name, permits, limit))
    }

    pub(crate) async fn write(
        &self,
        name: &Name,
        write: &Write,
        limit: Duration,
    ) -> Result<Written, Failure> {
        on!(self, way => way.write(name, write, limit))
    }

    pub(crate) async fn last_run(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Option<Run>>, Failure> {
        on!(self, way => way.last_run(name, limit))
    }

    pub(crate) async fn inspect(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Status>, Failure> {
        on!(self, way => way.inspect(name, limit))
    }
}
