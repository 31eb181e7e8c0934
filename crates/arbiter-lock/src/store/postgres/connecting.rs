//! Connections to a server: they are dialed, and each has a task.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode};
use tokio_postgres::error::Severity;
#[cfg(feature = "tls")]
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::tls::{NoTls, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Connection};
#[cfg(feature = "tls")]
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::Postgres;
use super::failure::{of_connecting, without_effect};
use super::listeners::{Listeners, grant_in};
use super::other_protocol::wrong_server;
use super::password::password;
use super::url::{ChannelBinding, Endpoint};
use crate::store::blocking_thread::on_blocking_thread;
use crate::store::credentials::{Credentials, LoginInUse};
use crate::store::stream::Stream;
use crate::store::tcp::unreachable;
use crate::store::{Failure, FailureKind, Source};
use crate::system::process::UnlessForked;

/// A connection, which is closed on drop: after the answers, once it is part of a session.
pub(super) struct OpenConnection {
    pub(super) client: Client,
    pub(super) watch: Arc<ConnectionWatch>,
    pub(super) is_opening: bool,
    /// Its credentials, if they may change.
    pub(super) login: Option<LoginInUse>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if self.is_opening {
            self.watch.abandon();
        }
    }
}

/// Connects to a place. The connection's task runs on the runtime of the caller. If the server
/// rejects credentials that may have been replaced, they are asked for again.
pub(super) async fn connect(
    store: &Arc<Postgres>,
    place: &Endpoint,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<OpenConnection, Failure> {
    match connect_once(store, place, listeners.clone()).await {
        Err(failure) if failure.kind == FailureKind::Rejected => {
            connect_once(store, place, listeners).await
        }
        connected => connected,
    }
}

async fn connect_once(
    store: &Arc<Postgres>,
    place: &Endpoint,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<OpenConnection, Failure> {
    let Some(login) = &store.login else {
        return connect_as(store, place, &Credentials::default(), listeners).await;
    };
    // So that its failure is reported before the limit of all hosts.
    let current = login.ask(store.limit_of_login()).await?;
    match connect_as(store, place, &current.credentials, listeners).await {
        Err(failure) if failure.kind == FailureKind::Denied => {
            Err(login.rejected(current, failure))
        }
        Err(failure) => Err(failure),
        Ok(mut connection) => {
            login.accepted();
            connection.login = Some(LoginInUse::new(current.credentials));
            Ok(connection)
        }
    }
}

async fn connect_as(
    store: &Arc<Postgres>,
    place: &Endpoint,
    login: &Credentials,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<OpenConnection, Failure> {
    let config = config(store, place, login).await?;
    match place {
        Endpoint::Unix(folder, port) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            let stream = UnixStream::connect(&socket).await;
            let stream = stream.map_err(|e| {
                let failure = unreachable(e);
                let detail = format!("{}: {}", socket.display(), failure.detail);
                Failure { detail, ..failure }
            })?;
            // No other machine is on the way.
            log_in(
                config,
                Stream::new(stream),
                NoTls,
                SslMode::Disable,
                listeners,
            )
            .await
        }
        Endpoint::Tcp((host, port)) => {
            let is_tls = store.url.tls.verification().is_some();
            let network = &store.settings.network;
            let wrong = async |after| {
                tokio::time::sleep(after).await;
                wrong_server(network, host, *port, is_tls).await
            };
            let failure = tokio::select! {
                biased;
                connected = over_tcp(store, host, *port, config, listeners) => match connected {
                    Err(failure) if failure.kind == FailureKind::Unreachable => failure,
                    connected => return connected,
                },
                // A server of another kind may wait for more.
                Some(failure) = wrong(OTHER_AFTER) => return Err(failure),
            };
            Err(wrong(Duration::ZERO).await.unwrap_or(failure))
        }
    }
}

async fn over_tcp(
    store: &Arc<Postgres>,
    host: &str,
    port: u16,
    config: Config,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<OpenConnection, Failure> {
    let network = &store.settings.network;
    match store.url.tls.verification() {
        None => {
            let stream = network.connect(host, port).await?;
            log_in(config, stream, NoTls, SslMode::Disable, listeners).await
        }
        #[cfg(feature = "tls")]
        Some(verification) => {
            let mut tls = MakeRustlsConnect::new(network.tls.read(verification).await?);
            let name = network.tls.server_name.as_deref().unwrap_or(host);
            let tls = MakeTlsConnect::<Stream>::make_tls_connect(&mut tls, name);
            let tls = tls.map_err(|e| unreachable(std::io::Error::other(e)))?;
            let stream = network.connect(host, port).await?;
            log_in(config, stream, tls, SslMode::Require, listeners).await
        }
        #[cfg(not(feature = "tls"))]
        Some(_) => {
            let detail = "TLS is not built in";
            Err(Failure::before_sending(FailureKind::Unsupported, detail))
        }
    }
}

/// How long a login may take before the server is asked for its kind.
const OTHER_AFTER: Duration = Duration::from_millis(300);

/// Returns the configuration of a connection to a place. Reads the password file, if there is no
/// other password.
async fn config(
    store: &Arc<Postgres>,
    place: &Endpoint,
    login: &Credentials,
) -> Result<Config, Failure> {
    let mut config = Config::new();
    let url = &store.url;
    config
        .user(login.username.as_ref().unwrap_or(&url.user))
        .dbname(&url.database)
        .application_name(
            url.application_name
                .as_deref()
                .unwrap_or(&store.client_name),
        )
        .channel_binding(match url.channel_binding {
            ChannelBinding::Disable => Binding::Disable,
            ChannelBinding::Prefer => Binding::Prefer,
            ChannelBinding::Require => Binding::Require,
        });
    let password = match &login.password {
        Some(password) => Some(password.clone()),
        None => {
            let (of, at) = (store.clone(), place.clone());
            let password = on_blocking_thread(move || password(&of.url, &at)).await;
            password.map_err(unreachable)?
        }
    };
    if let Some(password) = password {
        config.password(password);
    }
    Ok(config)
}

async fn log_in<T>(
    mut config: Config,
    stream: Stream,
    tls: T,
    mode: SslMode,
    listeners: Option<(Arc<Listeners>, Source)>,
) -> Result<OpenConnection, Failure>
where
    T: TlsConnect<Stream>,
    T::Stream: Send + 'static,
{
    config.ssl_mode(mode);
    let connected = config.connect_raw(stream, tls).await;
    let (client, connection) = connected.map_err(|e| of_connecting(&e))?;
    let watch = Arc::new(ConnectionWatch::default());
    if let Some((listeners, source)) = listeners {
        watch.listen(&listeners, source);
    }
    let task = run(connection, watch.clone());
    tokio::spawn(UnlessForked::new(task));
    Ok(OpenConnection {
        client,
        watch,
        is_opening: true,
        login: None,
    })
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

/// The observations of a connection's task.
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
