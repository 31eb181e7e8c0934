//! The client: one store, its links, its keeper.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arbiter_lock_core::Name;
use tokio::runtime::{Handle, Id};
use tokio::sync::watch;

use crate::builder::ClientBuilder;
use crate::clock::Clock;
use crate::election::Election;
use crate::error::Error;
use crate::event::{Event, EventQueue, Level};
use crate::keeper::{Keeper, LINGER};
use crate::label::Label;
use crate::lock::Lock;
use crate::lock_all::LockAll;
use crate::lost_reason::LostReason;
use crate::once::Once;
use crate::options::Options;
use crate::process::{LeakInChild, ProcessId, UnlessForked};
use crate::rw_lock::RwLock;
use crate::semaphore::Semaphore;
use crate::service::Service;
use crate::session::Session;
use crate::store::{Failure, Link, Store};
use crate::wait_graph::WaitGraph;

/// A client of one store. Cheap to clone; all clones are one client.
///
/// On a Redis server it keeps one connection for each tokio runtime that uses it, and one more
/// on a thread of its own, the keeper, which renews what is held and ends what was dropped: a
/// caller that blocks its executor or drops its runtime neither loses nor leaks a lock. A
/// caller without a tokio runtime is served by one more thread. A tokio runtime that uses a
/// client has to have its time and I/O drivers enabled.
///
/// In a process that was forked from the one that created it, a client is inert, and so is all that
/// it holds: every operation returns [`Error::Forked`], [`Hold::is_held`](crate::Hold::is_held) is
/// false, and a drop changes nothing. Create a new client in the child process.
///
/// When the last handle (client, lock or guard) is dropped, it waits up to 250 ms for releases
/// that were posted and for the logger; [`Guard::release`](crate::Guard::release) and
/// [`Client::shutdown`] are the certain ways.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let guard = client.lock("my-lock").acquire().await?;
/// println!("fence {}", guard.fence());
/// guard.release().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles of a client share.
pub(crate) struct Inner(LeakInChild<Parts>);

/// The parts of a client.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) events: EventQueue,
    pub(crate) keeper: Keeper,
    pub(crate) waits: WaitGraph,
    pub(crate) store_timeout: Duration,
    pub(crate) defaults: Options,
    label: Label,
    label_line: Arc<str>,
    links: Mutex<HashMap<Id, Arc<Link>>>,
    /// Whether the store has been found able to serve, and the keeper has its connection.
    is_ready: AtomicBool,
    /// Becomes true when the client is shut down; ends with the client.
    closing: watch::Sender<bool>,
    service: OnceLock<std::io::Result<Service>>,
}

impl Client {
    /// Connects to the store of that URL: `redis://[user[:password]@]host[:port][/db]`,
    /// `rediss://…` (feature `tls`), `redis+unix:///path/of/the/socket`; `file:///folder`, which
    /// the processes of one machine share (feature `embedded`); `memory:`, which is private to
    /// this client, or `memory:NAME`, which all clients of the process share. A forked process has
    /// memory stores of its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that is not understood, [`Error::Unavailable`] if the server
    /// does not answer within 5 s, [`Error::Refused`] if it denies access or is too old.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().store(url).connect().await
    }

    /// Makes a client that connects when it is first used: connecting is part of each wait, so a
    /// server that starts late, or is in the middle of a failover, costs time and no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that is not understood. Everything else surfaces at first use:
    /// a server that will never serve as [`Error::Refused`], one that does not serve within the
    /// wait as [`Error::Unavailable`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::connect_lazy("redis://127.0.0.1:6379")?; // no I/O
    /// # Ok(()) }
    /// ```
    pub fn connect_lazy(url: &str) -> Result<Self, Error> {
        Self::builder().store(url).connect_lazy()
    }

    /// Connects to the store that the environment names: `ARBITER_STORE` holds its URL, or
    /// `ARBITER_STORE_FILE` the path of a file that holds it; `ARBITER_KEY_PREFIX` the prefix of
    /// keys on a server. Where neither names a store, it is that of `default_store` (feature
    /// `embedded`), and an [event](crate::Event::StoreNotNamed) tells so. [`ClientBuilder::from_env`]
    /// lets you change other settings.
    ///
    /// # Errors
    /// As [`Client::connect`]; [`Error::Invalid`] too if there is no store to be had, or a
    /// variable is not UTF-8.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.connect().await
    }

    /// A client of a memory store of its own, for tests and programs of a single process. Its
    /// time is that of the tokio runtime, which tests can pause.
    #[must_use]
    pub fn in_memory() -> Self {
        ClientBuilder::in_memory()
    }

    /// Builds a client with settings of your own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A lock on the resource of that name. No I/O; bad input surfaces at first use.
    pub fn lock(&self, name: &str) -> Lock {
        Lock::new(self.inner.clone(), name)
    }

    /// A lock of that name with readers and a writer. No I/O; bad input surfaces at first use.
    pub fn rw_lock(&self, name: &str) -> RwLock {
        RwLock::new(self.lock(name))
    }

    /// A semaphore of that name with so many permits, at least one. No I/O; bad input surfaces at
    /// first use.
    pub fn semaphore(&self, name: &str, permits: u32) -> Semaphore {
        Semaphore::new(self.lock(name), permits)
    }

    /// The locks of all those names, to be taken together. No I/O; bad input surfaces at first
    /// use.
    pub fn lock_all(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> LockAll {
        let names = names.into_iter().map(|name| name.as_ref().to_owned());
        LockAll::new(self.lock(""), names.collect())
    }

    /// A session: its acquisitions are one logical owner, so that they may be nested.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(self.inner.clone())
    }

    /// An election of that name: its leader holds the resource exclusively. No I/O.
    pub fn election(&self, name: &str) -> Election {
        Election::new(self.lock(name))
    }

    /// A job of that name, which runs at most once per period among all machines. No I/O.
    pub fn once(&self, name: &str) -> Once {
        Once::new(self.lock(name))
    }

    /// Ends when the client begins to shut down: the time to stop work and release.
    ///
    /// # Cancel safety
    /// It can be dropped and made anew at any time.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let closing = self.inner.0.unless_forked();
        let closing = closing.map(|parts| {
            let mut closing = parts.closing.subscribe();
            UnlessForked::of(self.inner.process(), async move {
                // The client is gone: that is as closed as can be.
                let _ = closing.wait_for(|closing| *closing).await;
            })
        });
        async move {
            if let Some(closing) = closing {
                // In a forked process it is closed as well.
                let _ = closing.await;
            }
        }
    }

    /// Shuts down: nothing is granted any more, [`Client::closing`] ends, waiters get
    /// [`Error::Closed`]. It returns as soon as everything has been released, at the latest after
    /// `limit`; what is held even then is lost with [`LostReason::Shutdown`] and is left to its
    /// lease, as is what was released without the store's confirmation. The number of those is
    /// returned. Of the rest of `limit` it spends at most 250 ms on waiting for the
    /// [`Logger`](crate::Logger).
    ///
    /// # Cancel safety
    /// Dropped, it leaves the client shut down, and the holds as they are.
    pub async fn shutdown(&self, limit: Duration) -> usize {
        if self.inner.check_process().is_err() {
            return 0;
        }
        self.inner.closing.send_replace(true);
        let inner = self.inner.clone();
        let quiet = async move {
            while inner.keeper.is_busy() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let events = self.inner.events.clone();
        let logged = async move {
            while events.is_busy() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let inner = self.inner.clone();
        let ending = move || async move {
            let begun = inner.clock.now();
            // At the limit, whatever has not been released is declared lost.
            let left = match tokio::time::timeout(limit, quiet).await {
                Ok(()) => 0,
                Err(_) => {
                    let unconfirmed = inner.keeper.unconfirmed_releases();
                    inner.keeper.give_all_up(LostReason::Shutdown) + unconfirmed
                }
            };
            let rest = limit.saturating_sub(inner.clock.now().saturating_sub(begun));
            // The logger goes on with what it has not logged by then.
            let _ = tokio::time::timeout(rest.min(LINGER), logged).await;
            left
        };
        match self.inner.run(ending).await {
            Ok(left) => left,
            Err(Error::Forked) => 0,
            // No thread can be had to wait on.
            Err(_) => self.inner.keeper.give_all_up(LostReason::Shutdown),
        }
    }

    /// The file by which an embedded store sees that this process lives; none with other stores.
    ///
    /// It is locked by this process, shared, as by `flock(2)`, and the locks of the client are
    /// freed as soon as nobody has it locked any more. A program that starts others to work under
    /// its locks lets them lock it too, shared: then its locks outlive it until they have ended,
    /// or to the end of the lease.
    #[must_use]
    pub fn liveness_file(&self) -> Option<std::path::PathBuf> {
        self.inner.store.liveness_file()
    }

    #[cfg(feature = "testing")]
    /// What tests of your own loss paths need; for a memory store.
    #[must_use]
    pub fn testing(&self) -> crate::testing::Testing {
        crate::testing::Testing::new(self.inner.clone())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("store", &self.inner.store.to_string())
            .finish()
    }
}

impl Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Inner {
    pub(crate) fn new(
        store: Store,
        clock: Clock,
        events: EventQueue,
        store_timeout: Duration,
        defaults: Options,
    ) -> Arc<Self> {
        let (label, process) = (Label::of_this_process(), ProcessId::current());
        let parts = Parts {
            keeper: Keeper::new(store.clone(), clock.clone(), events.clone(), process),
            waits: WaitGraph::default(),
            store,
            clock,
            events,
            store_timeout,
            defaults,
            label_line: label.to_line().into(),
            label,
            links: Mutex::default(),
            is_ready: AtomicBool::new(false),
            closing: watch::Sender::new(false),
            service: OnceLock::new(),
        };
        Arc::new(Self(LeakInChild::of(process, parts)))
    }

    /// The process that made the client.
    pub(crate) fn process(&self) -> ProcessId {
        self.0.process()
    }

    /// Returns [`Error::Forked`] in a forked process: before anything is locked or sent.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        self.process().check()
    }

    /// The label of a request with those options.
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

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Makes sure that the store can serve and that the keeper has its connection: what
    /// would be missing later is found out before anything is held.
    pub(crate) async fn ready(&self, link: &Link, limit: Duration) -> Result<(), Failure> {
        let (probed, connected) = tokio::join!(link.probe(limit), self.keeper.connect(limit));
        probed.and(connected)?;
        self.is_ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Connects within the limit, so that what is wrong surfaces now.
    pub(crate) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<(), Error> {
        let ready = self.ready(&self.link(), limit).await;
        ready.map_err(|failure| Error::of_store("", &self.store.to_string(), failure))
    }

    /// The error that a failure of the store is, on that resource.
    pub(crate) fn store_error(&self, name: &Name, failure: Failure) -> Error {
        Error::of_store(name.as_str(), &self.store.to_string(), failure)
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

    /// Ends when the client is shut down.
    pub(crate) async fn closing(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Does the work where there is a tokio runtime: here, or else on the client's own thread. The
    /// future is made only there, since one that is handed on is kept twice.
    ///
    /// The outer error is that there is no such thread, or that this process was forked: then
    /// nothing is polled, locked or sent.
    pub(crate) async fn run<W>(&self, work: impl FnOnce() -> W) -> Result<W::Output, Error>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        match Handle::try_current() {
            Ok(_) => UnlessForked::of(self.process(), work()).await,
            Err(_) => {
                let served = self.service()?.run(work());
                UnlessForked::of(self.process(), served).await?
            }
        }
    }

    /// The client's own runtime, for callers without one; the thread is missing in a forked
    /// process.
    pub(crate) fn service(&self) -> Result<&Service, Error> {
        self.check_process()?;
        let service = self.service.get_or_init(Service::start);
        service
            .as_ref()
            .map_err(|e| Service::error(e, &self.store.to_string()))
    }

    /// The link of the runtime that this is called in.
    pub(crate) fn link(self: &Arc<Self>) -> Arc<Link> {
        let runtime = Handle::current();
        let id = runtime.id();
        if let Some(link) = self.links().get(&id) {
            return link.clone();
        }
        let link = Arc::new(self.store.link(self.process()));
        let link = self.links().entry(id).or_insert(link).clone();
        // When the runtime ends, it drops this task, and with it the link.
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
        link
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Id, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the link of a runtime when that ends.
struct EndOfRuntime {
    inner: Weak<Inner>,
    id: Id,
}

impl Drop for EndOfRuntime {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let link = inner.links().remove(&self.id);
            drop(link);
        }
    }
}
