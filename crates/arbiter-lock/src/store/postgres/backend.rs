//! The process of a server that serves a session, and whether a pooler is in front of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio_postgres::Client;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::types::Type;

use super::transaction::{Access, Parameter, in_transaction};

/// A process of a server that serves a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) process: i32,
    /// When it began, so that a later process with this number is another one.
    pub(super) begun: String,
}

impl Backend {
    /// Returns it if the session is its own, and none if a pooler is in front of it.
    pub(super) async fn unless_pooled(self, client: &Client) -> Option<Self> {
        let named = backend_pid(client).await;
        Some(self).filter(|backend| named == Some(backend.process))
    }

    /// Ends it, if it is one of this server.
    pub(super) async fn terminate(&self, client: &Client) {
        let statement = "SELECT pg_terminate_backend(a.pid) FROM pg_stat_get_activity($1) a \
                         WHERE extract(epoch FROM a.backend_start)::text = $2";
        let values: [Parameter<'_>; 2] = [(&self.process, Type::INT4), (&self.begun, Type::TEXT)];
        // It may have ended by itself.
        let _ = in_transaction(client, Access::Read, statement, &values).await;
    }
}

/// The length of a request to cancel: its length, its code, the process and a secret.
const CANCEL: usize = 16;

/// Returns the process that the server named when the session began.
///
/// A pooler names another one than the process that runs a statement. The client library only shows
/// it in a request to cancel, which is written to nowhere here.
async fn backend_pid(client: &Client) -> Option<i32> {
    let (ours, mut theirs) = tokio::io::duplex(64);
    // The answer to a request for TLS.
    theirs.write_all(b"S").await.ok()?;
    let token = client.cancel_token();
    let sent = token.cancel_query_raw(ours, Plain);
    let read = async {
        let mut written = Vec::new();
        theirs.read_to_end(&mut written).await.ok()?;
        let cancel = written.len().checked_sub(CANCEL)?;
        let process = written.get(cancel + 8..cancel + 12)?;
        process.try_into().ok().map(i32::from_be_bytes)
    };
    let (_, process) = tokio::join!(sent, read);
    process
}

/// Encrypts nothing.
struct Plain;

struct PlainStream(DuplexStream);

impl TlsConnect<DuplexStream> for Plain {
    type Stream = PlainStream;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<PlainStream>>;

    fn connect(self, stream: DuplexStream) -> Self::Future {
        std::future::ready(Ok(PlainStream(stream)))
    }
}

impl TlsStream for PlainStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
