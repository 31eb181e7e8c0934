//! Dials a server: the stream, the login, RESP3. The introduction selects the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo};
use tokio::net::UnixStream;

use super::bounded::{Arrived, Bounded};
use super::driver::Driver;
use super::expects_tls::expects_tls;
use super::frames::Frames;
use super::introduction::before_use;
use super::other_protocol::OtherProtocol;
use super::target::{Place, Target};
use crate::events::event::EventQueue;
use crate::store::credentials::{Credentials, LoginInUse};
use crate::store::settings::LoginSource;
use crate::store::stream::Stream;
use crate::store::tcp::unreachable;
#[cfg(feature = "tls")]
use crate::store::tls::Tls;
use crate::store::{Failure, FailureKind, KeyPrefix};

/// How long commands and connecting may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) command: Duration,
    pub(super) connect: Duration,
}

/// The settings that all connections of a client share.
#[derive(Clone)]
pub(super) struct ConnectionSettings {
    pub(super) limits: Limits,
    pub(super) client_name: Arc<str>,
    pub(super) key_prefix: KeyPrefix,
    pub(super) events: EventQueue,
}

/// A connection and its driver.
pub(super) struct Line {
    pub(super) connection: MultiplexedConnection,
    /// The data that has arrived on it.
    pub(super) arrived: Arrived,
    pub(super) driver: Driver,
    pub(super) login: LoginInUse,
}

/// How many commands may wait for the driver before callers wait for room.
const BUFFER: usize = 1_024;

/// Dials within the limit. The driver runs on the runtime of the caller.
pub(super) async fn dial(
    target: &Target,
    limit: Duration,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Line, Failure> {
    let begun = Instant::now();
    let dialed = tokio::time::timeout(limit, dial_without_limit(target, limit, on_push)).await;
    dialed.unwrap_or_else(|_| Err(Failure::too_late("connection", limit, begun.elapsed())))
}

async fn dial_without_limit(
    target: &Target,
    limit: Duration,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Line, Failure> {
    let (credentials, current) = match &target.login {
        LoginSource::Fixed(credentials) => (credentials.clone(), None),
        LoginSource::Changing(login) => {
            // So that its failure is reported before the limit of all.
            let current = login.ask(limit.mul_f64(0.9)).await?;
            (current.credentials.clone(), Some((login, current)))
        }
    };
    let network = &target.network;
    let stream = match &target.place {
        Place::Tcp { host, port } => network.connect(host, *port).await?,
        Place::Unix(path) => Stream::new(UnixStream::connect(path).await.map_err(unreachable)?),
        #[cfg(feature = "tls")]
        Place::Tls { host, port, name } => {
            let secured = super::tls::connect(network, host, *port, name).await;
            secured.map_err(Tls::explained)?
        }
        #[cfg(not(feature = "tls"))]
        Place::Tls { .. } => {
            let detail = "TLS is not built in";
            return Err(Failure::before_sending(FailureKind::Unsupported, detail));
        }
    };
    let logging_in = log_in(target, &credentials, stream, on_push);
    let logged_in = match &target.place {
        Place::Tcp { host, port } => tokio::select! {
            biased;
            logged_in = logging_in => logged_in,
            other = OtherProtocol::of_silent(network, host, *port) => Err(other.failure()),
        },
        _ => logging_in.await,
    };
    let failure = match (logged_in, current) {
        (Ok(line), current) => {
            if let Some((login, _)) = current {
                login.accepted();
            }
            return Ok(line);
        }
        (Err(failure), Some((login, current))) if failure.kind == FailureKind::Denied => {
            return Err(login.rejected(current, failure));
        }
        (Err(failure), _) => failure,
    };
    match (failure.kind, &target.place) {
        (FailureKind::Unreachable | FailureKind::Malformed, Place::Tcp { host, port })
            if expects_tls(network, host, *port).await =>
        {
            let detail =
                "it expects TLS on this port: the URL begins with rediss in place of redis";
            Err(Failure::before_sending(FailureKind::WrongUrl, detail))
        }
        _ => Err(failure),
    }
}

async fn log_in(
    target: &Target,
    credentials: &Credentials,
    stream: Stream,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Line, Failure> {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name();
    if let Some(username) = &credentials.username {
        info = info.set_username(username);
    }
    if let Some(password) = &credentials.password {
        info = info.set_password(password);
    }
    let arrived = Arrived::default();
    let frames = target.is_node.then(Frames::default);
    let bounded = Bounded::new(stream, arrived.clone(), frames);
    let heard = arrived.clone();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None) // the caller's limit counts
        .set_pipeline_buffer_size(BUFFER)
        .set_push_sender(move |push| {
            heard.understood();
            on_push(push);
            Ok::<(), redis::aio::SendError>(())
        });
    let connected = MultiplexedConnection::new_with_config(&info, bounded, config).await;
    let (connection, driver) = connected.map_err(|e| match arrived.other_protocol() {
        Some(protocol) => protocol.failure(),
        None if arrived.is_empty() && e.is_connection_dropped() => {
            Failure::before_sending(FailureKind::Unreachable, CLOSED)
        }
        None => before_use(&e),
    })?;
    Ok(Line {
        connection,
        arrived,
        driver: Driver::start(driver),
        login: LoginInUse::new(credentials.clone()),
    })
}

/// A connection that ended before the first answer.
const CLOSED: &str = "it closed the connection at the first command (HELLO 3), as a server that \
                      stops does, a proxy without RESP3, or a server of another kind";
