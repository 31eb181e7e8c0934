//! A stream that a server cannot fill the memory with.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use super::frames::Frames;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much may arrive that makes no answer and no message: far more than all answers together
/// that can be on their way.
const MOST: usize = 64 << 20;

/// Counts what has arrived since something was understood of it.
#[derive(Clone, Default)]
pub(super) struct Arrived(Arc<AtomicUsize>);

impl Arrived {
    pub(super) fn understood(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Fails when too much has arrived that nobody understands.
pub(super) struct Bounded<S> {
    pub(super) stream: S,
    pub(super) arrived: Arrived,
    /// Changes some messages of a node.
    pub(super) frames: Option<Frames>,
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
        if let Some(frames) = &mut self.frames {
            frames.pass(&mut buf.filled_mut()[before..]);
        }
        if MOST < self.arrived.0.fetch_add(read, Ordering::Relaxed) + read {
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
