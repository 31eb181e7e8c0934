//! Servers of another protocol, by the first bytes that they send.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::store::settings::Network;
use crate::store::{Failure, FailureKind};

/// The message for a server of another kind. The text of the parser means nothing to a user.
pub(super) const NOT_REDIS: &str = "it does not speak the protocol of Redis";

/// The first bytes of the types of RESP3.
const TYPES: &[u8] = b"+-:$*_#,(!=%~>|";

/// How long a server may not answer a login before it is asked for its protocol.
pub(super) const ASK_AFTER: Duration = Duration::from_millis(500);

/// A request of HTTP, which a server of Redis answers with an error.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// A protocol other than that of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherProtocol {
    Http,
    Ssh,
    Unknown,
}

/// What a server speaks without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Redis,
    Other(OtherProtocol),
}

impl Spoken {
    /// Asks a server on a connection of its own, without TLS and without a secret. Returns `None`
    /// if it answers nothing, or as a server with TLS does.
    pub(super) async fn ask(network: &Network, host: &str, port: u16) -> Option<Self> {
        let mut stream = network.connect(host, port).await.ok()?;
        stream.write_all(REQUEST).await.ok()?;
        let mut first = [0; 8];
        let count = stream.read(&mut first).await.ok()?;
        match first.get(..count)? {
            [b'+' | b'-', ..] => Some(Self::Redis),
            // An alert or a handshake of TLS.
            [20..=23, ..] => None,
            first => OtherProtocol::of(first).map(Self::Other),
        }
    }
}

impl OtherProtocol {
    /// Waits until a server has not answered for a while, and asks it. Returns only if it speaks
    /// another protocol: one of HTTP waits for the end of the request that a login seems to be.
    pub(super) async fn of_silent(network: &Network, host: &str, port: u16) -> Self {
        tokio::time::sleep(ASK_AFTER).await;
        match Spoken::ask(network, host, port).await {
            Some(Spoken::Other(protocol)) => protocol,
            _ => std::future::pending().await,
        }
    }

    /// Returns the protocol that these first bytes show, if it is another one.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        match first {
            // Some servers answer a page without a status line.
            [b'<', ..] | [b'H', b'T', b'T', b'P', b'/', ..] => Some(Self::Http),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            [first, ..] if !TYPES.contains(first) => Some(Self::Unknown),
            _ => None,
        }
    }

    pub(super) fn failure(self) -> Failure {
        let known = |protocol: &str| {
            let detail = format!("it speaks {protocol}: the URL names the port of another program");
            Failure::before_sending(FailureKind::Unsupported, detail)
        };
        match self {
            Self::Http => known("HTTP"),
            Self::Ssh => known("SSH"),
            Self::Unknown => {
                let detail = format!("{NOT_REDIS}: the URL may name the port of another program");
                Failure::before_sending(FailureKind::Malformed, detail)
            }
        }
    }
}
