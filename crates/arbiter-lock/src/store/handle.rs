//! A runtime's handle of the store.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, Name, Renewed, Request, Resized, Run, Status, Tried, Written,
};

use super::{
    EndedEnvelope, Envelope, Failure, FailureKind, Registry, Renewal, Store, Write, memory,
};
use crate::system::process::ForkGeneration;
use crate::system::rng;

/// A runtime's handle of the store: every step is sent once, is answered or fails within its
/// limit and the store's own, and is never sent again by the handle itself. In a forked process
/// nothing is sent.
pub(crate) struct StoreHandle {
    process: ForkGeneration,
    registry: Arc<Registry>,
    channel: Arc<str>,
    inner: AnyHandle,
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
    ($handle:expr, $inner:ident => $call:expr) => {{
        $handle.check_process()?;
        match &$handle.inner {
            AnyHandle::Memory($inner) => $call.await,
            #[cfg(feature = "embedded")]
            AnyHandle::Embedded($inner) => $call.await,
            #[cfg(feature = "redis")]
            AnyHandle::Redis($inner) => $call.await,
        }
    }};
}

impl StoreHandle {
    pub(super) fn new(store: &Store, process: &ForkGeneration) -> Self {
        let registry = Arc::new(Registry::default());
        let channel: Arc<str> = match store {
            #[cfg(feature = "embedded")]
            Store::Embedded(store) => store.channel(),
            _ => format!("arbiter.wake:{:032x}", rng::draw::<u128>()).into(),
        };
        let inner = match store {
            Store::Memory(world) => AnyHandle::Memory(world.handle(channel.clone(), &registry)),
            #[cfg(feature = "embedded")]
            Store::Embedded(store) => AnyHandle::Embedded(store.handle(channel.clone(), &registry)),
            #[cfg(feature = "redis")]
            Store::Redis(server) => AnyHandle::Redis(server.handle(channel.clone(), &registry)),
        };
        Self {
            process: process.clone(),
            registry,
            channel,
            inner,
        }
    }

    /// A handle for requests that never wait.
    pub(super) fn without_notifications(store: &Store, process: &ForkGeneration) -> Self {
        match store {
            Store::Memory(_) => Self::new(store, process),
            #[cfg(feature = "embedded")]
            Store::Embedded(_) => Self::new(store, process),
            #[cfg(feature = "redis")]
            Store::Redis(server) => Self {
                process: process.clone(),
                registry: Arc::default(),
                channel: "".into(),
                inner: AnyHandle::Redis(server.handle_without_notifications()),
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
        on!(self, inner => inner.probe(limit))
    }

    /// Establishes the connection within the limit, if there is one.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<(), Failure> {
        on!(self, inner => inner.connect(limit))
    }

    /// Returns the round-trip time to the store, as last measured.
    pub(crate) fn round_trip(&self) -> Duration {
        match &self.inner {
            AnyHandle::Memory(_) => Duration::ZERO,
            #[cfg(feature = "embedded")]
            AnyHandle::Embedded(_) => Duration::ZERO,
            #[cfg(feature = "redis")]
            AnyHandle::Redis(inner) => inner.round_trip(),
        }
    }

    pub(crate) async fn acquire(
        &self,
        name: &Name,
        request: &Request,
        ticket: Option<u64>,
        limit: Duration,
    ) -> Result<Envelope<Acquired>, Failure> {
        on!(self, inner => inner.acquire(name, request, ticket, limit))
    }

    pub(crate) async fn try_acquire(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Tried>, Failure> {
        on!(self, inner => inner.try_acquire(name, request, limit))
    }

    pub(crate) async fn renew(
        &self,
        renewals: &[Renewal<'_>],
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        on!(self, inner => inner.renew(renewals, limit))
    }

    pub(crate) async fn end(
        &self,
        name: &Name,
        request: &Request,
        tombstone: bool,
        limit: Duration,
    ) -> Result<EndedEnvelope, Failure> {
        on!(self, inner => inner.end(name, request, tombstone, limit))
    }

    pub(crate) async fn break_hold(
        &self,
        name: &Name,
        fence: u64,
        at_once: bool,
        limit: Duration,
    ) -> Result<Envelope<Broken>, Failure> {
        on!(self, inner => inner.break_hold(name, fence, at_once, limit))
    }

    pub(crate) async fn downgrade(
        &self,
        renewal: &Renewal<'_>,
        limit: Duration,
    ) -> Result<Envelope<Downgraded>, Failure> {
        on!(self, inner => inner.downgrade(renewal, limit))
    }

    pub(crate) async fn resize(
        &self,
        name: &Name,
        permits: NonZeroU32,
        limit: Duration,
    ) -> Result<Envelope<Resized>, Failure> {
        on!(self, inner => inner.resize(name, permits, limit))
    }

    pub(crate) async fn write(
        &self,
        name: &Name,
        write: &Write,
        limit: Duration,
    ) -> Result<Written, Failure> {
        on!(self, inner => inner.write(name, write, limit))
    }

    pub(crate) async fn last_run(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Option<Run>>, Failure> {
        on!(self, inner => inner.last_run(name, limit))
    }

    pub(crate) async fn inspect(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Status>, Failure> {
        on!(self, inner => inner.inspect(name, limit))
    }
}
