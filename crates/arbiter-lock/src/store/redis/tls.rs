//! TLS to a server, and servers that do not speak the protocol of the URL.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsConnector;

use super::other_protocol::Spoken;
use crate::store::settings::Network;
use crate::store::stream::Stream;
use crate::store::tls::Verification;
use crate::store::{Failure, FailureKind};

/// How long a server may not answer a handshake before it is asked without TLS.
const PLAIN_AFTER: Duration = Duration::from_millis(300);
/// How long a server that has answered a handshake without TLS may take to show its protocol.
const PLAIN_LIMIT: Duration = Duration::from_millis(500);

/// Connects to a server over TLS, which verifies that name, or returns why it is not to be trusted.
pub(super) async fn connect(
    network: &Network,
    host: &str,
    port: u16,
    name: &str,
) -> Result<Stream, Failure> {
    let name = network.tls.name_of(name)?;
    let config = network.tls.read(Verification::Full).await?;
    let stream = network.connect(host, port).await?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    // A server without TLS waits for the end of the line that the handshake seems to begin.
    let late = async {
        tokio::time::sleep(PLAIN_AFTER).await;
        match plain_answer(network, host, port).await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    };
    let secured = tokio::select! {
        biased;
        secured = handshake => secured,
        failure = late => return Err(failure),
    };
    let error = match secured {
        Ok(stream) => return Ok(Stream::new(stream)),
        Err(error) => error,
    };
    match error.get_ref().and_then(|e| e.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            let asked = plain_answer(network, host, port);
            let found = tokio::time::timeout(PLAIN_LIMIT, asked).await;
            Err(found.ok().flatten().unwrap_or_else(without_tls))
        }
        _ => {
            let detail = format!("TLS: {error}");
            Err(Failure::before_sending(FailureKind::Unreachable, detail))
        }
    }
}

fn without_tls() -> Failure {
    let detail = "it speaks without TLS on this port: the URL begins with redis in place of \
                  rediss, or names the port for TLS";
    Failure::before_sending(FailureKind::WrongUrl, detail)
}

/// Sends the server a request without TLS, and returns the meaning of its answer.
async fn plain_answer(network: &Network, host: &str, port: u16) -> Option<Failure> {
    Some(match Spoken::ask(network, host, port).await? {
        Spoken::Redis => without_tls(),
        Spoken::Other(protocol) => protocol.failure(),
    })
}
