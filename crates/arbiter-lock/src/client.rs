//! The client: what a program acquires locks by.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::ClientBuilder;
use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::keeper::LINGER;
use crate::primitives::election::Election;
use crate::primitives::lock::Lock;
use crate::primitives::lock_all::LockAll;
use crate::primitives::once::Once;
use crate::primitives::rw_lock::RwLock;
use crate::primitives::semaphore::Semaphore;
use crate::sessions::session::Session;
use crate::system::process::UnlessForked;

/// A client of one store. Cheap to clone; all clones are one client.
///
/// On a Redis server it keeps one connection for each tokio runtime that uses it, and one more
/// on a thread of its own, the keeper, which renews what is held and ends what was dropped: a
/// caller that blocks its executor or drops its runtime neither loses nor leaks a lock. A
/// caller without a tokio runtime, or under [`block_on`](crate::block_on()), is served by one more
/// thread. A tokio runtime that uses a client has to have its time and I/O drivers enabled.
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
    pub(crate) inner: Arc<Engine>,
}

impl Client {
    /// Connects to the store of that URL: `redis://[user[:password]@]host[:port][/db]`,
    /// `rediss://…` (feature `tls`), `redis+unix:///path/of/the/socket`;
    /// `redis+sentinel://host[:port][,host…]/SERVICE`, the master of a Sentinel group; `file:///folder`, which
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
    /// keys on a server; `ARBITER_ADDRESS_MAP` where announced servers are reached
    /// ([`ClientBuilder::address_map`]). Where neither names a store, it is that of `default_store` (feature
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
        let closing = self.inner.unless_forked();
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
    /// Returns what tests of your own loss paths need: losses and faults of the store, on demand.
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
