//! The engine of a client: its store, store handles, keeper and events.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arbiter_lock_core::{Mode, Name, Refusal, Reply, Request};
use once_cell::race::OnceBox;
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;

use crate::block_on::is_blocking;
use crate::errors::error::Error;
use crate::errors::refused::Refused;
use crate::events::event::{Event, EventQueue, Level};
use crate::events::metrics::{self, NameLabel};
use crate::keeper::Keeper;
use crate::label::Label;
use crate::primitives::options::Options;
use crate::service::Service;
use crate::sessions::wait_graph::WaitGraph;
use crate::store::health::Health;
use crate::store::{Envelope, Failure, Store, StoreHandle, StoreMonitor};
use crate::system::clock::Clock;
use crate::system::process::{ForkGeneration, LeakInChild, UnlessForked};

/// The state that all handles of a client share.
pub(crate) struct Engine(LeakInChild<Parts>);

/// The parts of a client.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) events: EventQueue,
    pub(crate) keeper: Keeper,
    monitor: Arc<StoreMonitor>,
    pub(crate) waits: WaitGraph,
    pub(crate) store_timeout: Duration,
    pub(crate) defaults: Options,
    pub(crate) name_label: NameLabel,
    label: Label,
    label_line: Arc<str>,
    handles: Mutex<HashMap<Id, Arc<StoreHandle>>>,
    /// Whether the store has been probed and the keeper is connected.
    is_ready: AtomicBool,
    /// The servers of a store with several for which that is so.
    ready_servers: Mutex<HashSet<u64>>,
    /// Becomes true when the client is shut down. Closed when the client is dropped.
    pub(crate) closing: watch::Sender<bool>,
    service: OnceBox<Service>,
}

impl Deref for Engine {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Engine {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        events: EventQueue,
        store_timeout: Duration,
        defaults: Options,
        name_label: NameLabel,
    ) -> Arc<Self> {
        metrics::describe();
        let clock = store.clock();
        let (label, process) = (Label::of_this_process(), ForkGeneration::current());
        let monitor = Arc::new(StoreMonitor::new(clock.clone()));
        let parts = Parts {
            keeper: Keeper::new(
                store.clone(),
                clock.clone(),
                events.clone(),
                monitor.clone(),
                process.clone(),
            ),
            monitor,
            waits: WaitGraph::default(),
            store,
            clock,
            events,
            store_timeout,
            defaults,
            name_label,
            label_line: label.to_line().into(),
            label,
            handles: Mutex::default(),
            is_ready: AtomicBool::new(false),
            ready_servers: Mutex::default(),
            closing: watch::Sender::new(false),
            service: OnceBox::new(),
        };
        Arc::new(Self(LeakInChild::of(&process, parts)))
    }

    /// Returns the parts, or `None` in a forked process.
    pub(crate) fn unless_forked(&self) -> Option<&Parts> {
        self.0.unless_forked()
    }

    /// Returns the process that made the client.
    pub(crate) fn process(&self) -> &ForkGeneration {
        self.0.process()
    }

    /// Returns [`Error::Forked`] in a forked process. Called before anything is locked or sent.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        self.process().check()
    }

    /// Returns a snapshot of the health. Does no I/O, and waits for no task.
    pub(crate) fn health(&self) -> Health {
        let Some(parts) = self.unless_forked() else {
            return Health::forked();
        };
        let (holds, unconfirmed_releases, late_renewals) = parts.keeper.load();
        let handles = Vec::from_iter(self.handles().values().cloned());
        Health {
            store: parts.monitor.health(),
            holds,
            waiters: handles.iter().map(|handle| handle.registry().len()).sum(),
            unconfirmed_releases,
            late_renewals,
            is_closed: *parts.closing.borrow(),
        }
    }

    /// Returns the label of a request with those options.
    pub(crate) fn label_line(&self, options: &Options) -> Result<Arc<str>, Error> {
        if options.note.is_empty() {
            return Ok(self.label_line.clone());
        }
        Ok(self
            .label
            .clone()
            .with_note(&options.note)?
            .to_line()
            .into())
    }

    /// Returns whether [`Engine::ready`] has succeeded for the server of that name.
    pub(crate) fn is_ready(&self, handle: &StoreHandle, name: &Name) -> bool {
        match handle.destination(name).server {
            0 => self.is_ready.load(Ordering::Acquire),
            server => self.ready_servers().contains(&server),
        }
    }

    /// Waits until the store can serve requests for that name, or any, and the keeper is connected.
    /// This comes before anything is held.
    pub(crate) async fn ready(
        &self,
        handle: &StoreHandle,
        name: Option<&Name>,
        limit: Duration,
    ) -> Result<(), Failure> {
        let connecting = self.keeper.connect(name, limit);
        let (probed, connected) = tokio::join!(handle.probe(name, limit), connecting);
        probed.and(connected)?;
        match name.map_or(0, |name| handle.destination(name).server) {
            0 => self.is_ready.store(true, Ordering::Release),
            server => drop(self.ready_servers().insert(server)),
        }
        Ok(())
    }

    fn ready_servers(&self) -> MutexGuard<'_, HashSet<u64>> {
        let servers = self.ready_servers.lock();
        servers.unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects within the limit.
    pub(crate) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<(), Error> {
        let ready = self.ready(&self.handle(), None, limit).await;
        ready.map_err(|failure| Error::of_store("", &self.store.to_string(), failure))
    }

    /// Sends one request on the handle of this runtime.
    pub(crate) async fn send<T: TryFrom<Reply>>(
        self: &Arc<Self>,
        name: &Name,
        request: &Request,
    ) -> Result<Envelope<T>, Error> {
        let sent = self.handle().send(name, request, Duration::MAX).await;
        sent.map_err(|failure| self.store_error(name, failure))
    }

    /// Returns the error for a failure of the store.
    pub(crate) fn store_error(&self, name: &Name, failure: Failure) -> Error {
        Error::of_store(name.as_str(), &self.store.to_string(), failure)
    }

    /// Returns the error for a refusal of a request in that mode.
    pub(crate) fn refused(&self, name: &Name, mode: Mode, refusal: Refusal) -> Error {
        Refused::new(name.as_str(), &self.store.to_string(), mode, refusal).into()
    }

    /// Reports that requests for that resource are not served.
    pub(crate) fn report_outage(&self, name: &Name, since: Duration, cause: &Failure) {
        self.events.emit(Level::Warn, || Event::NotServed {
            name: name.into(),
            store: self.store.to_string().into(),
            since,
            cause: Arc::new(cause.clone()),
        });
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.check_process()?;
        if *self.closing.borrow() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// Waits until the client is shut down.
    pub(crate) async fn closing(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Runs the work in the current tokio runtime. Without one, or if this thread blocks it, the
    /// work runs on the client's own thread.
    ///
    /// `work` makes the future in place, since a future that is moved is stored twice. The outer
    /// error is that the thread cannot be started, or that this process was forked: then nothing is
    /// polled, locked or sent.
    pub(crate) async fn run<W>(&self, work: impl FnOnce() -> W) -> Result<W::Output, Error>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(_) if !is_blocking() => UnlessForked::of(self.process(), work()).await,
            _ => {
                let served = self.service()?.run(work());
                UnlessForked::of(self.process(), served).await?
            }
        }
    }

    /// Returns the client's own runtime, for callers without one or that block it.
    fn service(&self) -> Result<&Service, Error> {
        self.service_from(Service::start)
    }

    /// Starts the client's own runtime, unless it runs. A failed start is tried again.
    fn service_from(
        &self,
        start: impl FnOnce() -> std::io::Result<Service>,
    ) -> Result<&Service, Error> {
        self.check_process()?;
        let service = self.service.get_or_try_init(|| start().map(Box::new));
        service.map_err(|e| Service::error(&e, &self.store.to_string()))
    }

    /// Returns whether this is the client's own thread, which works for callers without a runtime.
    pub(crate) fn is_own_thread(&self) -> bool {
        let service = self.service.get();
        service.is_some_and(Service::is_current)
    }

    /// Returns the handle of the current runtime.
    pub(crate) fn handle(self: &Arc<Self>) -> Arc<StoreHandle> {
        let runtime = Handle::current();
        let id = runtime.id();
        if let Some(handle) = self.handles().get(&id) {
            return handle.clone();
        }
        let handle = Arc::new(StoreHandle::new(&self.store, self.process(), &self.monitor));
        let handle = self.handles().entry(id).or_insert(handle).clone();
        // A runtime that ends drops this task, which removes the handle.
        let ended = EndOfRuntime {
            inner: Arc::downgrade(self),
            id,
        };
        let mut alive = self.closing.subscribe();
        let waiting = async move {
            let _ended = ended;
            while alive.changed().await.is_ok() {}
        };
        runtime.spawn(UnlessForked::of(self.process(), waiting));
        handle
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<Id, Arc<StoreHandle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the handle of a runtime when that ends.
struct EndOfRuntime {
    inner: Weak<Engine>,
    id: Id,
}

impl Drop for EndOfRuntime {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let handle = inner.handles().remove(&self.id);
            drop(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::service::Service;

    #[test]
    fn service_that_failed_to_start_is_started_later() {
        let client = crate::Client::in_memory();
        let engine = &client.inner;
        let refused = || Err(std::io::ErrorKind::WouldBlock.into());
        assert!(engine.service_from(refused).is_err());
        assert!(engine.service_from(Service::start).is_ok());
        let again = || unreachable!("it runs");
        assert!(engine.service_from(again).is_ok());
    }
}
