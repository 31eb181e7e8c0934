//! A runtime's handle of the store.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Name, Renewal, Renewed, Reply, Request};
use futures_util::future::BoxFuture;

use super::diagnosis::Check;
use super::{
    Acknowledgement, Envelope, Failure, FailureKind, Page, Pattern, Registry, Store, StoreMonitor,
};
use crate::system::process::ForkGeneration;
use crate::system::rng;

/// A request in progress. It ends within its limit and the store's own.
pub(crate) type Sending<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// How long a single try may take in all.
const TRY_LIMIT: Duration = Duration::from_secs(2);

/// A runtime's handle of one store, as the store implements it.
///
/// The handle sends every request once. The request is answered or fails within its limit and the
/// store's own.
pub(crate) trait Handle: Send + Sync {
    /// Establishes the connection for requests for that name, or one for any, if there are
    /// connections.
    fn connect<'a>(&'a self, to: Option<&'a Name>, limit: Duration) -> Sending<'a, ()>;

    /// Checks that the store supports the protocol, over a connection.
    fn probe<'a>(&'a self, to: Option<&'a Name>, limit: Duration) -> Sending<'a, ()> {
        self.connect(to, limit)
    }

    /// Returns the round-trip time to the store, as last measured.
    fn round_trip(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns how long a single try may take in all. A handle whose store makes no progress fails
    /// it sooner.
    fn try_limit(&self) -> Duration {
        TRY_LIMIT
    }

    /// Returns the channel on which waiters for that name are notified of grants.
    fn channel(&self, name: &Name) -> Arc<str>;

    /// Returns where requests for that name go.
    fn destination(&self, _: &Name) -> Destination {
        Destination::default()
    }

    /// Sends one request.
    fn send<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>>;

    /// Sends one request whose write has to be acknowledged, if its reply is a hold. Without the
    /// acknowledgements, it fails, and may have run.
    fn send_acknowledged<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        _: Acknowledgement,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>> {
        self.send(name, request, limit)
    }

    /// Checks what matters to holds with that lease.
    fn diagnose(&self, _: Duration) -> Sending<'_, Vec<Check>> {
        Box::pin(async {
            self.connect(None, Duration::MAX).await?;
            Ok(vec![Check::ok("mode", "one machine, without a server")])
        })
    }

    /// Returns some of the names that may be held or waited for. The cursor is empty for the first
    /// page. The page may include names that do not match.
    fn names<'a>(
        &'a self,
        cursor: &'a str,
        pattern: &'a Pattern,
        limit: Duration,
    ) -> Sending<'a, Page>;

    /// Sends several renewals to one destination in one call. Each succeeds or fails alone. Those
    /// that are not acknowledged fail.
    fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Sending<'_, Vec<Result<Renewed, Failure>>>;
}

/// Where requests for a name go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Destination {
    /// A number of the server.
    pub(crate) server: u64,
    /// Only renewals of one group can share a call.
    pub(crate) group: u16,
}

/// Draws a random channel for a handle.
pub(super) fn random_channel() -> Arc<str> {
    format!("arbiter.wake:{}", rng::draw_id()).into()
}

/// A runtime's handle of the store. In a forked process nothing is sent.
pub(crate) struct StoreHandle {
    process: ForkGeneration,
    registry: Arc<Registry>,
    monitor: Arc<StoreMonitor>,
    inner: Box<dyn Handle>,
}

impl StoreHandle {
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        process: &ForkGeneration,
        monitor: &Arc<StoreMonitor>,
    ) -> Self {
        let registry = Arc::new(Registry::default());
        Self {
            process: process.clone(),
            monitor: monitor.clone(),
            inner: store.clone().handle(&registry),
            registry,
        }
    }

    /// Makes a handle for requests that never wait.
    pub(crate) fn without_notifications(
        store: &Arc<dyn Store>,
        process: &ForkGeneration,
        monitor: &Arc<StoreMonitor>,
    ) -> Self {
        Self {
            process: process.clone(),
            monitor: monitor.clone(),
            inner: store.clone().handle_without_notifications(),
            registry: Arc::default(),
        }
    }

    /// Returns the waiters of this handle.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the channel on which waiters for that name are notified of grants.
    pub(crate) fn channel(&self, name: &Name) -> Arc<str> {
        self.inner.channel(name)
    }

    /// Returns where requests for that name go.
    pub(crate) fn destination(&self, name: &Name) -> Destination {
        self.inner.destination(name)
    }

    /// Returns the round-trip time to the store, as last measured.
    pub(crate) fn round_trip(&self) -> Duration {
        self.inner.round_trip()
    }

    /// Returns how long a single try may take in all.
    pub(crate) fn try_limit(&self) -> Duration {
        self.inner.try_limit()
    }

    /// Checks within the limit that the store answers and supports the protocol.
    pub(crate) async fn probe(&self, to: Option<&Name>, limit: Duration) -> Result<(), Failure> {
        self.check_process()?;
        self.monitor.note(limit, self.inner.probe(to, limit).await)
    }

    /// Establishes the connection within the limit, if there is one.
    pub(crate) async fn connect(&self, to: Option<&Name>, limit: Duration) -> Result<(), Failure> {
        self.check_process()?;
        let connected = self.inner.connect(to, limit).await;
        if let Err(failure) = &connected {
            self.monitor.note_failure(limit, failure);
        }
        connected
    }

    /// Sends one request, and returns the reply of its kind.
    pub(crate) async fn send<T: TryFrom<Reply>>(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<T>, Failure> {
        self.check_process()?;
        let sent = self.inner.send(name, request, limit).await;
        self.read(limit, sent)
    }

    /// Reads the reply of a kind of request.
    fn read<T: TryFrom<Reply>>(
        &self,
        limit: Duration,
        sent: Result<Envelope<Reply>, Failure>,
    ) -> Result<Envelope<T>, Failure> {
        let sent = self.monitor.note(limit, sent)?;
        let other = |_| Failure::unknown(FailureKind::Malformed, "a reply to another request");
        Ok(Envelope {
            reply: T::try_from(sent.reply).map_err(other)?,
            at: sent.at,
            again: sent.again,
            source: sent.source,
        })
    }

    /// Sends one request whose write has to be acknowledged, and returns the reply of its kind.
    pub(crate) async fn send_acknowledged<T: TryFrom<Reply>>(
        &self,
        name: &Name,
        request: &Request,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Result<Envelope<T>, Failure> {
        if !needed.is_needed() {
            return self.send(name, request, limit).await;
        }
        self.check_process()?;
        let sent = self
            .inner
            .send_acknowledged(name, request, needed, limit)
            .await;
        self.read(limit, sent)
    }

    /// Checks what matters to holds with that lease.
    pub(crate) async fn diagnose(&self, lease: Duration) -> Result<Vec<Check>, Failure> {
        self.check_process()?;
        let checks = self.inner.diagnose(lease).await;
        self.monitor.note(Duration::MAX, checks)
    }

    /// Returns some of the names that may be held or waited for.
    pub(crate) async fn names(
        &self,
        cursor: &str,
        pattern: &Pattern,
        limit: Duration,
    ) -> Result<Page, Failure> {
        self.check_process()?;
        let page = self.inner.names(cursor, pattern, limit).await;
        self.monitor.note(limit, page)
    }

    /// Sends several renewals to one destination in one call. Each succeeds or fails alone.
    pub(crate) async fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        self.check_process()?;
        let renewed = self
            .monitor
            .note(limit, self.inner.renew(renewals, needed, limit).await)?;
        // The call may be answered, and each renewal fail.
        let first = renewed
            .first()
            .filter(|_| renewed.iter().all(Result::is_err));
        if let Some(Err(failure)) = first {
            self.monitor.note_failure(limit, failure);
        }
        Ok(renewed)
    }

    fn check_process(&self) -> Result<(), Failure> {
        if self.process.is_current() {
            return Ok(());
        }
        Err(Failure::before_sending(FailureKind::Forked, ""))
    }
}
