//! The client of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::builder::ClientBuilder;
use crate::engine::Engine;
use crate::errors::error::Error;
#[cfg(feature = "postgres")]
use crate::errors::invalid::Invalid;
use crate::errors::lost_reason::LostReason;
use crate::holds::guard::Guard;
use crate::holds::token::Token;
use crate::keeper::LINGER;
use crate::primitives::election::Election;
use crate::primitives::list::List;
use crate::primitives::lock::Lock;
use crate::primitives::lock_all::LockAll;
use crate::primitives::once::Once;
use crate::primitives::rw_lock::RwLock;
use crate::primitives::semaphore::Semaphore;
use crate::sessions::session::Session;
use crate::store::diagnosis::Check;
use crate::store::health::Health;
use crate::system::process::UnlessForked;

/// A client of one store.
///
/// It is cheap to clone, and all clones are one client.
///
/// # Connections and threads
/// On a Redis server, a client has one connection per tokio runtime that uses it, and one more.
/// The latter belongs to the keeper, a thread that renews holds and finishes the releases of
/// dropped guards. So a caller that blocks its executor or drops its runtime neither loses nor
/// leaks a lock. On a cluster, each of them has one connection to every master that it uses, and
/// another thread has one that queries where names are.
///
/// One more thread serves callers without a tokio runtime, or under
/// [`block_on`](crate::block_on()). A tokio runtime that uses a client needs its time and I/O
/// drivers enabled.
///
/// # Shutdown
/// The drop of the last handle (client, lock or guard) waits for at most 250 ms for releases in the
/// background and for the logger. To wait until they are confirmed, use
/// [`Guard::release`](crate::Guard::release) or [`Client::shutdown`].
///
/// # Forked processes
/// In a process that was forked from its creator, a client and its holds are inert. Every operation
/// returns [`Error::Forked`], [`Hold::is_held`](crate::Hold::is_held) is false, and drops have no
/// effect. Create a new client in the child process.
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
    /// Connects to the store of that URL.
    ///
    /// | URL | store |
    /// |---|---|
    /// | `redis://[user[:password]@]host[:port][/db]` | a Redis or Valkey server |
    /// | `rediss://…` | the same over TLS (feature `tls`) |
    /// | `redis+unix:///path/of/the/socket` | the same over a Unix socket |
    /// | `redis+sentinel://host[:port][,host…]/SERVICE` | the master of a Sentinel group |
    /// | `rediss+sentinel://…` | the same over TLS (feature `tls`) |
    /// | `redis+cluster://host[:port][,host…]` | the masters of a cluster, some of whose nodes are listed |
    /// | `rediss+cluster://…` | the same over TLS (feature `tls`) |
    /// | `file:///folder` | shared by the processes of one machine (feature `embedded`) |
    /// | `memory:` | private to this client |
    /// | `memory:NAME` | shared by the clients of this process |
    ///
    /// A forked process has its own memory stores.
    ///
    /// # Errors
    /// - [`Error::Invalid`] if the URL is invalid.
    /// - [`Error::Unavailable`] if the server does not answer within 5 s.
    /// - [`Error::Refused`] if the server denies access or is too old.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder().store(url).connect().await
    }

    /// Makes a client that connects at first use.
    ///
    /// Connecting is part of each wait. So a server that starts late, or is in a failover, delays
    /// an acquire but does not fail it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL is invalid. Other errors occur at first use:
    /// [`Error::Refused`] if the server can never serve, [`Error::Unavailable`] if it does not
    /// serve within the wait limit.
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

    /// Connects to the store that the environment names.
    ///
    /// `ARBITER_STORE` is the URL of the store, or `ARBITER_STORE_FILE` is the path of a file that
    /// contains the URL. `ARBITER_KEY_PREFIX` is the prefix of keys, and
    /// `ARBITER_ADDRESS_MAP` maps announced addresses ([`ClientBuilder::address_map`]).
    /// `ARBITER_CACERT`, `ARBITER_CERT`, `ARBITER_KEY` and `ARBITER_SNI` are settings of TLS
    /// ([`ClientBuilder::settings_from_env`]).
    /// If no store is named, the client uses `default_store` (feature `embedded`) and logs an
    /// [event](crate::Event::StoreNotNamed). To change other settings, use
    /// [`ClientBuilder::from_env`].
    ///
    /// # Errors
    /// As [`Client::connect`]. Also [`Error::Invalid`] if no store is named and there is no
    /// default, or if a variable is not UTF-8.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # if false {
    /// let client = arbiter_lock::Client::from_env().await?; // ARBITER_STORE=redis://127.0.0.1:6379
    /// # }
    /// # Ok(()) }
    /// ```
    pub async fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.connect().await
    }

    /// Makes a client with its own memory store, for tests and single-process programs.
    ///
    /// Its clock is that of the tokio runtime, which tests can pause.
    ///
    /// # Examples
    /// ```
    /// let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report");
    /// ```
    #[must_use]
    pub fn in_memory() -> Self {
        ClientBuilder::in_memory()
    }

    /// Returns a builder for a client with other settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Returns a lock of that name. Does no I/O.
    pub fn lock(&self, name: &str) -> Lock {
        Lock::new(self.inner.clone(), name)
    }

    /// Adopts a detached hold, with the default options: see [`Lock::adopt`].
    ///
    /// # Errors
    /// As [`Lock::adopt`].
    ///
    /// # Cancel safety
    /// As [`Lock::adopt`].
    ///
    /// # Examples
    /// See [`Guard::into_token`](crate::Guard::into_token).
    pub async fn adopt(&self, token: &Token) -> Result<Guard, Error> {
        self.lock(token.name()).adopt(token).await
    }

    /// Returns a reader-writer lock of that name. Does no I/O.
    pub fn rw_lock(&self, name: &str) -> RwLock {
        RwLock::new(self.lock(name))
    }

    /// Returns a semaphore of that name, with that many permits (at least one). Does no I/O.
    pub fn semaphore(&self, name: &str, permits: u32) -> Semaphore {
        Semaphore::new(self.lock(name), permits)
    }

    /// Returns the locks of those names, to be acquired together. Does no I/O.
    pub fn lock_all(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> LockAll {
        let names = names.into_iter().map(|name| name.as_ref().to_owned());
        LockAll::new(self.lock(""), names.collect())
    }

    /// Makes a session, whose locks are reentrant.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(self.inner.clone())
    }

    /// Returns an election of that name. Does no I/O.
    pub fn election(&self, name: &str) -> Election {
        Election::new(self.lock(name))
    }

    /// Returns a job of that name, which runs at most once per period among all machines. Does no
    /// I/O.
    pub fn once(&self, name: &str) -> Once {
        Once::new(self.lock(name))
    }

    /// Lists the locks of the store that are held or waited for, of all its clients.
    ///
    /// In the pattern, `*` matches any text and `?` one character. The list is read page by page,
    /// with bounded memory, and needs no right to write. It is not a snapshot: a lock that changes
    /// meanwhile may be missing, and on a server a name may occur twice. If the connection to the
    /// server is replaced meanwhile, the list begins again, so that no name is missed. On a cluster,
    /// a name whose slot moves meanwhile may be missing or occur twice.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let _guard = client.lock("build-7").acquire().await?;
    /// let mut locks = client.list("build-*");
    /// while let Some(lock) = locks.next().await? {
    ///     println!("{}: {:?}", lock.name, lock.status.holder);
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn list(&self, pattern: &str) -> List {
        List::new(self.inner.clone(), pattern)
    }

    /// Checks whether the store is configured safely for holds with that lease. It checks the
    /// version, eviction, persistence and replicas, whether the lease survives a failover, the
    /// clock, the latency and the rights of this client. On a cluster it asks every master.
    ///
    /// It takes about half a second for each server. The command `arbiter doctor` prints the result.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`] and [`Error::Invalid`], as [`Client::connect`].
    ///
    /// # Cancel safety
    /// The call changes nothing.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::CheckStatus;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// for check in client.diagnose(std::time::Duration::from_secs(30)).await? {
    ///     if check.status != CheckStatus::Ok {
    ///         println!("{}: {}", check.name, check.message);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn diagnose(&self, lease: Duration) -> Result<Vec<Check>, Error> {
        self.inner.check_open()?;
        let inner = self.inner.clone();
        let diagnosing = move || async move {
            let handle = inner.handle();
            let probed = handle.probe(None, Duration::MAX).await;
            let checks = handle.diagnose(lease).await;
            match (probed, checks) {
                (Ok(()), Ok(checks)) => Ok(checks),
                // It answers, and no lock could be acquired.
                (Err(failure), Ok(mut checks)) => {
                    let fix = "allow the commands in the docs of the store, or name another server";
                    checks.push(Check::failure("locks", format!("it {failure}"), fix));
                    Ok(checks)
                }
                (probed, Err(failure)) => {
                    let failure = probed.err().unwrap_or(failure);
                    Err(Error::of_store("", &inner.store.to_string(), failure))
                }
            }
        };
        self.inner.run(diagnosing).await?
    }

    /// Returns the SQL statement with which a transaction guards its writes. The statement fails
    /// unless a hold of a PostgreSQL store is in force.
    ///
    /// Its parameters are the name of the hold (`text`) and its fence (`bigint`). Run it first in the
    /// transaction of your writes, in the database of the store. As long as the transaction is open,
    /// the hold does not end, and no other client is granted. So no write of a former holder commits.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the store is not a PostgreSQL database.
    ///
    /// # Examples
    /// With `tokio-postgres`, in the database of the store:
    /// ```no_run
    /// # async fn example(
    /// #     client: &arbiter_lock::Client,
    /// #     transaction: tokio_postgres::Transaction<'_>,
    /// # ) -> Result<(), Box<dyn std::error::Error>> {
    /// let guard = client.lock("report").acquire().await?;
    /// let fence = i64::try_from(guard.fence())?;
    /// transaction.execute(&client.guard_sql()?, &[&guard.name(), &fence]).await?;
    /// transaction.execute("UPDATE reports SET done = true", &[]).await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "postgres")]
    pub fn guard_sql(&self) -> Result<String, Error> {
        self.inner.check_process()?;
        let message = "only a PostgreSQL store guards transactions";
        let none = || Invalid::new("store", message);
        Ok(self.inner.store.guard_sql().ok_or_else(none)?)
    }

    /// Returns a snapshot of the client's health. It shows whether the store answers, and how many
    /// holds, waiters and late renewals there are.
    ///
    /// It does no I/O and waits for nothing, so a readiness handler can call it at each request. It
    /// reflects the latest requests: an idle client learns of an outage with its next request, and
    /// a hold sends one every third of its lease. Use [`Lock::inspect`] to ask the store itself.
    ///
    /// # Examples
    /// ```
    /// use arbiter_lock::StoreHealth;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").acquire().await?;
    /// let health = client.health();
    /// assert_eq!((health.holds, health.waiters), (1, 0));
    /// let status = if health.is_ready() { 200 } else { 503 };
    /// if let StoreHealth::Failing { since, cause } = &health.store {
    ///     println!("no answer for {since:?}: the store {cause}");
    /// }
    /// # assert_eq!(status, 200);
    /// # guard.release().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        self.inner.health()
    }

    /// Waits until the client begins to shut down. Then stop work and release.
    ///
    /// # Cancel safety
    /// The future can be dropped and recreated at any time.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let closing = client.closing();
    /// let server = tokio::spawn(async move { closing.await }); // then stops accepting work
    /// client.shutdown(std::time::Duration::from_secs(5)).await;
    /// server.await.expect("the task");
    /// # Ok(()) }
    /// ```
    pub fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let closing = self.inner.unless_forked();
        let closing = closing.map(|parts| {
            let mut closing = parts.closing.subscribe();
            UnlessForked::of(self.inner.process(), async move {
                // An error means that the client was dropped.
                let _ = closing.wait_for(|closing| *closing).await;
            })
        });
        async move {
            if let Some(closing) = closing {
                // An error means that this process was forked.
                let _ = closing.await;
            }
        }
    }

    /// Shuts the client down, and waits until all holds are released, for at most `limit`.
    ///
    /// No request is granted any more: [`Client::closing`] completes, and waiters get
    /// [`Error::Closed`]. After `limit`, remaining holds are lost with [`LostReason::Shutdown`],
    /// and end in the store with their lease. So do releases that the store has not confirmed.
    /// Returns the number of both. If time is left, it waits for at most 250 ms for the
    /// [`Logger`](crate::Logger).
    ///
    /// # Cancel safety
    /// If the future is dropped, the client is shut down, and the holds are unchanged.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// drop(client.lock("report").acquire().await?);
    /// let unreleased = client.shutdown(std::time::Duration::from_secs(5)).await;
    /// assert_eq!(unreleased, 0);
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self, limit: Duration) -> usize {
        if self.inner.check_process().is_err() {
            return 0;
        }
        self.inner.closing.send_replace(true);
        let inner = self.inner.clone();
        let ending = move || async move {
            let begun = inner.clock.now();
            let released = until_idle(|| inner.keeper.is_busy());
            let left = match tokio::time::timeout(limit, released).await {
                Ok(()) => 0,
                Err(_) => {
                    let unconfirmed = inner.keeper.unconfirmed_releases();
                    inner.keeper.give_all_up(LostReason::Shutdown) + unconfirmed
                }
            };
            let rest = limit.saturating_sub(inner.clock.now().saturating_sub(begun));
            let logged = until_idle(|| inner.events.is_busy());
            // Events that are left are logged later.
            let _ = tokio::time::timeout(rest.min(LINGER), logged).await;
            left
        };
        match self.inner.run(ending).await {
            Ok(left) => left,
            Err(Error::Forked) => 0,
            // There is no thread to wait on.
            Err(_) => self.inner.keeper.give_all_up(LostReason::Shutdown),
        }
    }

    /// Returns the liveness file of an embedded store, or `None` with another store.
    ///
    /// This process holds a shared lock on it, as by `flock(2)`. The locks of the client are
    /// released as soon as no process has the file locked. If child processes work under the
    /// client's locks, have them lock the file too, shared. Then the locks last until the children
    /// have ended, or until the end of the lease.
    #[must_use]
    pub fn liveness_file(&self) -> Option<std::path::PathBuf> {
        self.inner.store.liveness_file()
    }

    #[cfg(feature = "testing")]
    /// Returns the means to inject losses and faults of the store in tests.
    #[must_use]
    pub fn testing(&self) -> crate::testing::Testing {
        crate::testing::Testing::new(self.inner.clone())
    }
}

/// Waits until `is_busy` returns false.
async fn until_idle(is_busy: impl Fn() -> bool) {
    while is_busy() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("store", &self.inner.store.to_string())
            .finish()
    }
}
