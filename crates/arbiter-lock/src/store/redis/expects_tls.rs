//! Recognizes a server that expects TLS, behind a URL without it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::store::settings::Network;

/// How long the server may take to answer.
const LIMIT: Duration = Duration::from_millis(500);

/// The first message of TLS 1.2: a `ClientHello` with common suites and no extensions. Between the
/// two parts are 32 bytes of a random number, and a session's empty name.
const BEGIN: [u8; 11] = [22, 3, 1, 0, 51, 1, 0, 0, 47, 3, 3];
const SUITES: [u8; 12] = [0, 8, 0xc0, 0x2f, 0xc0, 0x2b, 0, 0x9c, 0, 0x2f, 1, 0];

/// Returns whether a server that did not understand a login answers a handshake: by its own, or by
/// an alert.
pub(super) async fn expects_tls(network: &Network, host: &str, port: u16) -> bool {
    let asked = async {
        let mut stream = network.connect(host, port).await.ok()?;
        let hello = [&BEGIN[..], &[0; 33], &SUITES].concat();
        stream.write_all(&hello).await.ok()?;
        let mut begin = [0; 2];
        stream.read_exact(&mut begin).await.ok()?;
        Some(begin)
    };
    matches!(timeout(LIMIT, asked).await, Ok(Some([21 | 22, 3])))
}
