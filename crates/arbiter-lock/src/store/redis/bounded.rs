//! A stream that a server cannot fill the memory with.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::other_protocol::OtherProtocol;

/// The maximum number of bytes that may arrive without a complete answer or message. All answers
/// that can be on their way together are far smaller.
const MOST: usize = 64 << 20;

/// Counts the bytes that have arrived since the last complete answer or message.
#[derive(Clone, Default)]
pub(super) struct Arrived {
    bytes: Arc<AtomicUsize>,
    other_protocol: Arc<OnceLock<OtherProtocol>>,
}

impl Arrived {
    pub(super) fn understood(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Returns whether nothing has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    /// Returns the server's protocol, if the first bytes are not of the protocol of Redis.
    pub(super) fn other_protocol(&self) -> Option<OtherProtocol> {
        self.other_protocol.get().copied()
    }
}

/// Fails if too much arrives without an answer or a message, or if the server speaks another
/// protocol.
pub(super) struct Bounded<S> {
    stream: S,
    arrived: Arrived,
    /// Changes some messages of a node.
    frames: Option<Frames>,
    is_new: bool,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S, arrived: Arrived, frames: Option<Frames>) -> Self {
        Self {
            stream,
            arrived,
            frames,
            is_new: true,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if std::mem::take(&mut self.is_new)
            && let Some(protocol) = OtherProtocol::of(&buf.filled()[before..])
        {
            let _ = self.arrived.other_protocol.set(protocol);
            return Poll::Ready(Err(io::Error::other("another protocol")));
        }
        if let Some(frames) = &mut self.frames {
            frames.pass(&mut buf.filled_mut()[before..]);
        }
        if MOST < self.arrived.bytes.fetch_add(read, Ordering::Relaxed) + read {
            return Poll::Ready(Err(io::Error::other("an answer without end")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
