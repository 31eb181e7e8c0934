//! TLS to a server, and servers that do not speak what the URL says.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::store::settings::Network;
use crate::store::stream::Stream;
use crate::store::tls::Verification;
use crate::store::{Failure, FailureKind};

/// How long a server may not answer a handshake before it is asked without TLS.
const PLAIN_AFTER: Duration = Duration::from_millis(300);

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
    let plain = || {
        let detail = "it speaks without TLS on this port: the URL begins with redis in place of \
                      rediss, or names the port for TLS";
        Failure::before_sending(FailureKind::WrongUrl, detail)
    };
    let secured = tokio::select! {
        biased;
        secured = handshake => secured,
        () = speaks_plainly(network, host, port) => return Err(plain()),
    };
    match secured {
        Ok(stream) => Ok(Stream::new(stream)),
        Err(e) => match e.get_ref().and_then(|e| e.downcast_ref()) {
            Some(rustls::Error::InvalidMessage(_)) => Err(plain()),
            _ => {
                let detail = format!("TLS: {e}");
                Err(Failure::before_sending(FailureKind::Unreachable, detail))
            }
        },
    }
}

/// Completes once the server has answered a command without TLS; it sends no secret.
///
/// A server without TLS waits for the end of the line that the handshake seems to begin.
async fn speaks_plainly(network: &Network, host: &str, port: u16) {
    tokio::time::sleep(PLAIN_AFTER).await;
    if let Ok(mut stream) = network.connect(host, port).await
        && stream.write_all(b"PING\r\n").await.is_ok()
        && let Ok(first) = stream.read_u8().await
        && matches!(first, b'+' | b'-')
    {
        return;
    }
    std::future::pending().await
}
