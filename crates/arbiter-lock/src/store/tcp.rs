//! Streams to servers.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use rustix::net::sockopt;
use tokio::net::TcpStream;

use super::blocking_thread::on_blocking_thread;
use super::settings::Network;
use super::stream::Stream;
use super::url::Host;
use super::{Failure, FailureKind};

/// How long an address may not answer before the next one is dialed as well.
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);

/// The keepalive of a connection: the idle time before the first probe, the interval, and the
/// number of probes. Some firewalls drop a connection that is idle for four minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

impl Network {
    /// Connects to a host, by the connector if there is one.
    ///
    /// A connector is code of the program: it may panic.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<Stream, Failure> {
        let Some(connector) = self.connector.clone() else {
            return Ok(Stream::new(tcp(host, port).await?));
        };
        let to = host.to_owned();
        let connecting = AssertUnwindSafe(async move { connector(to, port).await });
        match connecting.catch_unwind().await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) => Err(unreachable(io::Error::other(format!(
                "the connector failed for {}:{port}: {e}",
                Host(host)
            )))),
            Err(_) => Err(unreachable(io::Error::other(format!(
                "the connector panicked for {}:{port}",
                Host(host)
            )))),
        }
    }
}

/// Connects to a host, which may have several addresses.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let addresses = addresses_of(host, port).await.map_err(unreachable)?;
    let stream = first_of(addresses, TcpStream::connect::<SocketAddr>).await;
    let stream = stream.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    keep_alive(&stream).map_err(|e| unreachable(e.into()))?;
    Ok(stream)
}

pub(crate) async fn addresses_of(
    host: &str,
    port: u16,
) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let host = host.to_owned();
    on_blocking_thread(move || (host, port).to_socket_addrs()).await?
}

fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)
}

/// Dials the addresses in their order, so that all clients reach the same one. The next one is
/// dialed as soon as one has failed or has not answered for a moment (RFC 8305).
async fn first_of<T, F>(
    addresses: impl Iterator<Item = SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut dialing = FuturesUnordered::new();
    let mut error = io::Error::other("the host has no address");
    for address in addresses {
        dialing.push(dial(address));
        match tokio::time::timeout(HEAD_START, dialing.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(e))) => error = e,
            Ok(None) | Err(_) => {}
        }
    }
    while let Some(dialed) = dialing.next().await {
        match dialed {
            Ok(stream) => return Ok(stream),
            Err(e) => error = e,
        }
    }
    Err(error)
}

pub(crate) fn unreachable(e: io::Error) -> Failure {
    Failure::of_descriptors(&e)
        .unwrap_or_else(|| Failure::before_sending(FailureKind::Unreachable, e.to_string()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Dials addresses that accept or refuse after a number of milliseconds. Returns the address
    /// that was taken, and when.
    async fn dialed(answers: &[(u64, bool)]) -> (Option<usize>, Duration) {
        let addresses = (0..answers.len()).map(|n| SocketAddr::from(([127, 0, 0, 1], n as u16)));
        let begun = tokio::time::Instant::now();
        let first = first_of(addresses, |address| {
            let n = usize::from(address.port());
            let (after, stands) = answers[n];
            async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                stands
                    .then_some(n)
                    .ok_or(io::ErrorKind::ConnectionRefused.into())
            }
        });
        (first.await.ok(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_dialed_in_order_past_failures() {
        const SILENT: u64 = 60_000;
        for (answers, taken, after) in [
            (&[(200, true), (1, true)][..], Some(0), 200),
            (&[(5, false), (7, true), (1, true)], Some(1), 12),
            (&[(SILENT, true), (5, false), (7, true)], Some(2), 262),
            (&[(SILENT, true), (SILENT, true), (7, true)], Some(2), 507),
            (&[(300, true), (SILENT, true)], Some(0), 300),
            (&[(5, false), (400, false)], None, 405),
            (&[], None, 0),
        ] {
            let (first, elapsed) = dialed(answers).await;
            assert_eq!(first, taken, "{answers:?}");
            // The clock of the runtime rounds up to milliseconds.
            let late = elapsed.saturating_sub(Duration::from_millis(after));
            assert!(late < Duration::from_millis(5), "{answers:?}: {elapsed:?}");
            assert!(
                Duration::from_millis(after) <= elapsed,
                "{answers:?}: {elapsed:?}"
            );
        }
    }

    #[tokio::test]
    async fn keepalive_detects_a_dead_peer_within_a_minute() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let stream = tcp("127.0.0.1", port).await.unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let rest = sockopt::tcp_keepidle(&stream).unwrap();
        let every = sockopt::tcp_keepintvl(&stream).unwrap();
        let times = sockopt::tcp_keepcnt(&stream).unwrap();
        assert!(rest + every * times <= Duration::from_secs(60));
    }
}
