//! Dials a server: the stream, the login, RESP3.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo};
use rustix::net::sockopt;
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

/// After how much rest it is asked whether the other side is still there, how often then, and how
/// many times: some of what lies between forgets a connection that rests for four minutes.
const REST: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_TIMES: u32 = 3;

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
    let addresses = tokio::net::lookup_host((host, port)).await;
    let stream = first_of(addresses.map_err(unreachable)?).await?;
    stream.set_nodelay(true).map_err(unreachable)?;
    keep_alive(&stream).map_err(|e| unreachable(e.into()))?;
    Ok(stream)
}

fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, REST)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASK_TIMES)
}

/// The first address that answers: one that is silent stands in no other's way.
async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, Failure> {
    let dialling: Vec<_> = addresses.map(|to| TcpStream::connect(to).boxed()).collect();
    if dialling.is_empty() {
        let none = std::io::Error::other("the host has no address");
        return Err(unreachable(none));
    }
    let (stream, _) = select_ok(dialling).await.map_err(unreachable)?;
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    fn socket() -> TcpSocket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    }

    #[tokio::test]
    async fn an_address_that_is_silent_or_refuses_stands_in_no_others_way() {
        // Nobody accepts, so that the system answers no more once its queue is full.
        let silent = socket().listen(1).unwrap();
        let silent_at = silent.local_addr().unwrap();
        let mut queue = Vec::new();
        let a_moment = Duration::from_millis(200);
        while let Ok(stream) = tokio::time::timeout(a_moment, TcpStream::connect(silent_at)).await {
            queue.push(stream.unwrap());
        }
        let refusing = socket(); // bound, and nobody listens
        let refusing_at = refusing.local_addr().unwrap();
        let open = socket().listen(1).unwrap();
        let open_at = open.local_addr().unwrap();
        let addresses = [silent_at, refusing_at, open_at].into_iter();
        let first = tokio::time::timeout(Duration::from_secs(5), first_of(addresses)).await;
        let first = first.expect("the open one has answered").unwrap();
        assert_eq!(first.peer_addr().unwrap(), open_at);
        let refused = first_of([refusing_at].into_iter()).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Unreachable);
        let none = first_of([].into_iter()).await.unwrap_err();
        assert_eq!(none.kind, FailureKind::Unreachable);
    }

    #[tokio::test]
    async fn a_connection_that_rests_finds_out_within_a_minute_that_the_other_side_is_gone() {
        let server = socket().listen(1).unwrap();
        let port = server.local_addr().unwrap().port();
        let stream = tcp("127.0.0.1", port).await.unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let rest = sockopt::tcp_keepidle(&stream).unwrap();
        let every = sockopt::tcp_keepintvl(&stream).unwrap();
        let times = sockopt::tcp_keepcnt(&stream).unwrap();
        assert!(rest + every * times <= Duration::from_secs(60));
    }
}
