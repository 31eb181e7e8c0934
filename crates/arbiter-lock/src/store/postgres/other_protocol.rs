//! Servers of another kind, by their answers before a login.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::store::settings::Network;
use crate::store::{Failure, FailureKind};

/// How long a server may take to answer a request for TLS, or a line.
const ANSWER_LIMIT: Duration = Duration::from_millis(200);

/// A request for TLS, which a server of PostgreSQL answers with one byte before any login.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Returns the failure of a server that is not of PostgreSQL, or that lacks the TLS of the URL.
pub(super) async fn wrong_server(
    network: &Network,
    host: &str,
    port: u16,
    is_tls: bool,
) -> Option<Failure> {
    let asked = async |text: &'static [u8]| {
        let asked = async {
            let mut stream = network.connect(host, port).await.ok()?;
            stream.write_all(text).await.ok()?;
            stream.read_u8().await.ok()
        };
        timeout(ANSWER_LIMIT, asked).await
    };
    let answer = match asked(&TLS_REQUEST).await {
        Ok(answer) => answer,
        // A server of another kind may wait for the end of a line, as Redis and HTTP do.
        Err(_) => asked(b"GET / HTTP/1.0\r\n\r\n").await.ok()?,
    };
    let (kind, detail) = match answer? {
        b'N' if is_tls => (
            FailureKind::WrongUrl,
            "it does not support TLS on this port: turn TLS on in the server, or use sslmode=disable",
        ),
        b'N' | b'S' | b'E' => return None,
        _ => (
            FailureKind::Unsupported,
            "it does not speak the protocol of PostgreSQL: the URL may name the port of another \
             program",
        ),
    };
    Some(Failure::before_sending(kind, detail))
}
