//! A future that ends in a forked process.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::{ForkGeneration, LeakInChild};
use crate::errors::error::Error;

/// A future that only one process polls and drops.
///
/// In a forked process it completes with [`Error::Forked`] and is leaked, since dropping it would
/// lock mutexes of the parent's runtime.
pub(crate) struct UnlessForked<F>(LeakInChild<Pin<Box<F>>>);

impl<F: Future> UnlessForked<F> {
    /// Wraps a future of this process.
    #[cfg(any(feature = "redis", feature = "postgres"))]
    pub(crate) fn new(future: F) -> Self {
        Self::of(&ForkGeneration::current(), future)
    }

    /// Wraps a future of that process.
    pub(crate) fn of(process: &ForkGeneration, future: F) -> Self {
        Self(LeakInChild::of(process, Box::pin(future)))
    }
}

impl<F: Future> Future for UnlessForked<F> {
    type Output = Result<F::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.0.unless_forked_mut().ok_or(Error::Forked)?;
        let done = ready!(future.as_mut().poll(cx));
        self.0.end();
        Poll::Ready(Ok(done))
    }
}
