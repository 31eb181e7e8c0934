//! Connections to a server: they are dialed, and each has a task.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{join, join3};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "tls")]
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode};
use tokio_postgres::error::{Severity, SqlState};
#[cfg(feature = "tls")]
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::tls::{NoTls, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Row};

use super::database::Postgres;
use super::failure::{of_connecting, without_effect};
use super::listeners::{Listeners, grant_in};
use super::password::password;
use super::sql::{VERSION, quoted, schema_sql};
use super::url::{ChannelBinding, Endpoint, TlsMode};
use crate::store::blocking_thread::on_blocking_thread;
use crate::store::tcp::{tcp, unreachable};
use crate::store::{Failure, FailureKind, Source};
use crate::system::process::UnlessForked;

/// The errors for a schema, a table or a column that does not exist.
const MISSING: [&str; 3] = ["3F000", "42P01", "42703"];

/// The oldest supported version of the server.
const OLDEST: i32 = 14_00_00;

/// Undoes what the settings of a role or a database would change for a session.
const SETTINGS: &str = "SET statement_timeout = 0; SET lock_timeout = '2s'; \
     SET idle_session_timeout = 0; SET idle_in_transaction_session_timeout = '5s'; \
     SET default_transaction_isolation = 'read committed'; \
     SET default_transaction_read_only = off; SET client_min_messages = 'warning'";

/// Whether a transaction may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

impl Access {
    /// Returns the statements that begin a transaction, whatever the settings of the role are.
    pub(super) fn begin(self) -> String {
        let access = match self {
            Self::Read => "READ ONLY",
            Self::Write => "READ WRITE",
        };
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED {access}; \
             SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '1s'; \
             SET LOCAL idle_in_transaction_session_timeout = '5s'; \
             SET LOCAL client_min_messages = 'warning'"
        )
    }
}

/// A value of a statement.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Runs a statement in a transaction of its own, in one round trip.
pub(super) async fn in_transaction(
    client: &Client,
    access: Access,
    statement: &str,
    values: &[Parameter<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let begin = access.begin();
    let mut tries = 1;
    loop {
        let (begun, rows, committed) = join3(
            client.batch_execute(&begin),
            client.query_typed(statement, values),
            client.batch_execute("COMMIT"),
        )
        .await;
        match begun {
            Err(e) if is_canceled(&e) && tries < TRIES => tries += 1,
            Err(e) => return Err(e),
            Ok(()) => {
                let rows = rows?;
                committed?;
                return Ok(rows);
            }
        }
    }
}

/// Runs statements of which the first ones lift the time limit of the role.
async fn lift_limits(client: &Client, statements: &str) -> Result<(), tokio_postgres::Error> {
    let mut tries = 1;
    loop {
        let done = client.batch_execute(statements).await;
        if done.is_err() {
            // A transaction may be open.
            let _ = client.batch_execute("ROLLBACK").await;
        }
        match done {
            Err(e) if is_canceled(&e) && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// How often statements are tried that the role's time limit cancels before it is lifted.
const TRIES: u32 = 10;

fn is_canceled(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::QUERY_CANCELED)
}

/// A process of a server that serves a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) process: i32,
    /// When it began, so that a later process with this number is another one.
    begun: String,
}

impl Backend {
    /// Ends it, if it is one of this server.
    pub(super) async fn terminate(&self, client: &Client) {
        let statement = "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity($1) a \
                         WHERE extract(epoch FROM a.backend_start)::text = $2";
        let values: [Parameter<'_>; 2] = [(&self.process, Type::INT4), (&self.begun, Type::TEXT)];
        // It may have ended by itself.
        let _ = in_transaction(client, Access::Read, statement, &values).await;
    }
}

/// What a server says of itself.
pub(super) struct ServerFacts {
    pub(super) is_standby: bool,
    pub(super) backend: Backend,
    pub(super) timeline: u32,
    /// Another one for every start of a server.
    pub(super) identity: String,
}

impl ServerFacts {
    pub(super) async fn ask(client: &Client) -> Result<Self, Failure> {
        let statement = "SELECT pg_is_in_recovery(), \
                                current_setting('server_version_num')::int4, \
                                current_setting('server_encoding'), a.pid, \
                                extract(epoch FROM a.backend_start)::text, \
                                CASE WHEN NOT pg_is_in_recovery() \
                                     THEN pg_walfile_name(pg_current_wal_lsn()) END, \
                                concat_ws(' ', inet_server_addr(), inet_server_port(), \
                                          extract(epoch FROM pg_postmaster_start_time())) \
                         FROM pg_stat_get_activity(pg_backend_pid()) a";
        let rows = in_transaction(client, Access::Read, statement, &[]).await;
        let rows = rows.map_err(|e| without_effect(&e))?;
        let row = rows.first();
        let row = row.ok_or_else(|| {
            Failure::before_sending(FailureKind::Malformed, "an answer without a row")
        })?;
        let version: i32 = row.get(1);
        if version < OLDEST {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "it is PostgreSQL {}, and {} or later is needed",
                    version / 10_000,
                    OLDEST / 10_000
                ),
            ));
        }
        let encoding: String = row.get(2);
        if encoding != "UTF8" {
            return Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!(
                    "the database has the encoding {encoding}, which lacks some names: use one \
                         with UTF8"
                ),
            ));
        }
        let log: Option<String> = row.get(5);
        let timeline = log.and_then(|log| u32::from_str_radix(log.get(..8)?, 16).ok());
        let timeline = timeline.unwrap_or_default();
        Ok(Self {
            is_standby: row.get(0),
            backend: Backend {
                process: row.get(3),
                begun: row.get(4),
            },
            timeline,
            identity: format!("{} {timeline}", row.get::<_, String>(6)),
        })
    }
}

/// Makes the tables if they are missing, and checks their version.
pub(super) async fn prepare(client: &Client, store: &Postgres) -> Result<(), Failure> {
    let schema = &store.url.schema;
    let advice = format!(
        "an owner of the database can make what is missing: arbiter store init --print --schema \
         {schema} | psql"
    );
    let denied = |e: &tokio_postgres::Error| {
        let mut failure = without_effect(e);
        if failure.kind == FailureKind::Denied {
            failure.detail = format!("{}; {advice}", failure.detail);
        }
        failure
    };
    let make = async || {
        let made = lift_limits(client, &schema_sql(schema)).await;
        made.map_err(|e| denied(&e))
    };
    let version = &store.statements.version;
    let rows = match in_transaction(client, Access::Read, version, &[]).await {
        // The schema or the table is missing.
        Err(e) if e.code().is_some_and(|code| MISSING.contains(&code.code())) => {
            return make().await;
        }
        rows => rows.map_err(|e| denied(&e))?,
    };
    let version: Option<i32> = rows.first().and_then(|row| row.get(0));
    match version.unwrap_or_default() {
        VERSION => Ok(()),
        older if older < VERSION => make().await,
        newer => Err(Failure::before_sending(
            FailureKind::Unsupported,
            format!(
                "the schema {schema} was written by a newer version of arbiter (format {newer}, \
                 this one supports {VERSION})"
            ),
        )),
    }
}

/// Undoes the settings of the role, on a session of the server itself.
pub(super) async fn settle(client: &Client) -> Result<(), Failure> {
    let settled = lift_limits(client, SETTINGS).await;
    settled.map_err(|e| without_effect(&e))
}

/// Listens on a channel, on a session of the server itself.
pub(super) async fn listen(client: &Client, channel: &str) -> Result<(), Failure> {
    let listen = format!("LISTEN {}", quoted(channel));
    let values: [Parameter<'_>; 1] = [(&channel, Type::TEXT)];
    // The lock shows that the session listens, until it ends.
    let (listened, locked) = join(
        client.batch_execute(&listen),
        client.query_typed(
            "SELECT pg_try_advisory_lock(hashtextextended($1, 0))",
            &values,
        ),
    )
    .await;
    listened.map_err(|e| without_effect(&e))?;
    let locked = locked.map_err(|e| without_effect(&e))?;
    if locked.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    // An earlier session of this client has it, and the server has not noticed its end.
    let end = client.query_typed(
        "SELECT pg_terminate_backend(pid) FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ExclusiveLock' \
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
           AND ((classid::bigint << 32) | objid::bigint) = hashtextextended($1, 0)",
        &values,
    );
    end.await.map_err(|e| without_effect(&e))?;
    let lock = client.query_typed("SELECT pg_advisory_lock(hashtextextended($1, 0))", &values);
    lock.await.map(drop).map_err(|e| without_effect(&e))
}

/// Connects to a place. The connection's task runs on the runtime of the caller.
pub(super) async fn connect(
    store: &Arc<Postgres>,
    place: &Endpoint,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<(Client, Arc<ConnectionWatch>), Failure> {
    match place {
        Endpoint::Unix(folder, port) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            let stream = UnixStream::connect(&socket).await;
            let stream = stream.map_err(|e| {
                let failure = unreachable(e);
                let detail = format!("{}: {}", socket.display(), failure.detail);
                Failure { detail, ..failure }
            })?;
            // Nobody is on the way.
            log_in(store, place, stream, NoTls, SslMode::Disable, listeners).await
        }
        Endpoint::Tcp((host, port)) => {
            let stream = tcp(host, *port).await?;
            match store.url.tls {
                TlsMode::Disable => {
                    log_in(store, place, stream, NoTls, SslMode::Disable, listeners).await
                }
                #[cfg(feature = "tls")]
                _ => {
                    let of = store.clone();
                    let connector = on_blocking_thread(move || {
                        super::tls::connector(&of.url, of.authorities())
                    });
                    let mut connector = connector.await.map_err(unreachable)??;
                    let tls = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, host);
                    let tls = tls.map_err(|e| unreachable(std::io::Error::other(e)))?;
                    log_in(store, place, stream, tls, SslMode::Require, listeners).await
                }
                #[cfg(not(feature = "tls"))]
                _ => Err(Failure::before_sending(
                    FailureKind::Unsupported,
                    "TLS is not built in",
                )),
            }
        }
    }
}

async fn log_in<S, T>(
    store: &Arc<Postgres>,
    place: &Endpoint,
    stream: S,
    tls: T,
    mode: SslMode,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<(Client, Arc<ConnectionWatch>), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let mut config = Config::new();
    let url = &store.url;
    config
        .user(&url.user)
        .dbname(&url.database)
        .application_name(
            url.application_name
                .as_deref()
                .unwrap_or(&store.client_name),
        )
        .ssl_mode(mode)
        .channel_binding(match url.channel_binding {
            ChannelBinding::Disable => Binding::Disable,
            ChannelBinding::Prefer => Binding::Prefer,
            ChannelBinding::Require => Binding::Require,
        });
    let (of, at) = (store.clone(), place.clone());
    let password = on_blocking_thread(move || password(&of.url, &at)).await;
    if let Some(password) = password.map_err(unreachable)? {
        config.password(password);
    }
    let connected = config.connect_raw(stream, tls).await;
    let (client, connection) = connected.map_err(|e| of_connecting(&e))?;
    let watch = Arc::new(ConnectionWatch::default());
    if let Some((listeners, source)) = listeners {
        watch.listen(&listeners, source);
    }
    let task = run(connection, watch.clone());
    tokio::spawn(UnlessForked::new(task));
    Ok((client, watch))
}

/// Reads and writes on a connection until it ends.
async fn run<S, T>(mut connection: Connection<S, T>, watch: Arc<ConnectionWatch>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let failure = loop {
        let message = tokio::select! {
            biased;
            message = poll_fn(|cx| connection.poll_message(cx)) => message,
            () = watch.abandoned.notified() => {
                let detail = "the connection was given up";
                break Failure::before_sending(FailureKind::Silent, detail);
            }
        };
        match message {
            Some(Ok(AsyncMessage::Notification(message))) => {
                watch.notify(message.channel(), message.payload());
            }
            // The severity of which the language does not depend on the server's settings.
            Some(Ok(AsyncMessage::Notice(notice)))
                if notice.parsed_severity() == Some(Severity::Warning) =>
            {
                watch.is_doubtful.store(true, Ordering::Release);
            }
            Some(Ok(_)) => {}
            Some(Err(e)) => break without_effect(&e),
            None => {
                let detail = "the connection was closed";
                break Failure::before_sending(FailureKind::Unreachable, detail);
            }
        }
    };
    watch.state().end = Some(failure);
    watch.ended.notify_one();
}

/// What the task of a connection has seen.
#[derive(Default)]
pub(super) struct ConnectionWatch {
    /// Whether the server has warned since the last commit: it may not be replicated.
    is_doubtful: AtomicBool,
    state: Mutex<ConnectionWatchState>,
    ended: Notify,
    abandoned: Notify,
}

#[derive(Default)]
struct ConnectionWatchState {
    /// Why the connection has ended.
    end: Option<Failure>,
    /// Where notifications go, and where their times are from.
    listeners: Option<(Arc<Listeners>, Source)>,
}

impl ConnectionWatch {
    fn state(&self) -> MutexGuard<'_, ConnectionWatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self, listeners: &Arc<Listeners>, source: Source) {
        self.state().listeners = Some((listeners.clone(), source));
    }

    pub(super) fn trust(&self) {
        self.is_doubtful.store(false, Ordering::Release);
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> Option<Failure> {
        self.state().end.clone()
    }

    /// Completes once the connection has ended. One task at a time waits for it.
    pub(super) async fn ended(&self) {
        while self.state().end.is_none() {
            self.ended.notified().await;
        }
    }

    /// Closes the connection, even if answers are missing.
    pub(super) fn abandon(&self) {
        self.abandoned.notify_one();
    }

    fn notify(&self, channel: &str, payload: &str) {
        let listeners = self.state().listeners.clone();
        if let (Some((listeners, source)), Some(push)) = (listeners, grant_in(payload)) {
            listeners.deliver(channel, source, push);
        }
    }
}
