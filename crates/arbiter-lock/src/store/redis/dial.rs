//! Dials a server: the stream, the login, RESP3.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::bounded::{Arrived, Bounded};
use super::driver::Driver;
use super::failure::failure_of;
use super::target::{Place, Target};
use crate::store::{Failure, FailureKind};

/// A connection and what drives it.
pub(super) struct Line {
    pub(super) connection: MultiplexedConnection,
    /// What has arrived on it.
    pub(super) arrived: Arrived,
    pub(super) driver: Driver,
}

/// How many commands may stand in front of the driver before callers wait for room.
const BUFFER: usize = 1_024;

/// Dials within the limit; the driver runs on the runtime in which this is called.
pub(super) async fn dial(
    target: &Target,
    limit: Duration,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Line, Failure> {
    let dialled = tokio::time::timeout(limit, dial_without_limit(target, on_push)).await;
    dialled.unwrap_or_else(|_| {
        let detail = format!("no connection within {limit:?}");
        Err(Failure::before_sending(FailureKind::Silent, detail))
    })
}

async fn dial_without_limit(
    target: &Target,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Line, Failure> {
    match &target.place {
        Place::Tcp { host, port } => log_in(target, tcp(host, *port).await?, on_push).await,
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            log_in(target, stream, on_push).await
        }
        #[cfg(feature = "tls")]
        Place::Tls { host, port } => {
            let stream =
                super::tls::secure(host, target.authorities.as_deref(), tcp(host, *port).await?)
                    .await?;
            log_in(target, stream, on_push).await
        }
        #[cfg(not(feature = "tls"))]
        Place::Tls { .. } => Err(Failure::before_sending(
            FailureKind::Unsupported,
            "TLS is not built in",
        )),
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

fn unreachable(e: std::io::Error) -> Failure {
    Failure::before_sending(FailureKind::Unreachable, e.to_string())
}

async fn log_in<S>(
    target: &Target,
    stream: S,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Line, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name()
        .set_db(target.database);
    if let Some(username) = &target.username {
        info = info.set_username(username);
    }
    if let Some(password) = &target.password {
        info = info.set_password(password);
    }
    let arrived = Arrived::default();
    let bounded = Bounded {
        stream,
        arrived: arrived.clone(),
    };
    let heard = arrived.clone();
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None) // the caller's limit counts
        .set_pipeline_buffer_size(BUFFER)
        .set_push_sender(move |push| {
            heard.understood();
            on_push(push);
            Ok::<(), redis::aio::SendError>(())
        });
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, bounded, config)
        .await
        .map_err(|e| Failure {
            may_have_run: false,
            ..failure_of(&e)
        })?;
    Ok(Line {
        connection,
        arrived,
        driver: Driver::start(driver),
    })
}
