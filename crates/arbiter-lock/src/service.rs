//! A thread with its own runtime, for callers that have none or block it.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::errors::error::Error;
use crate::errors::failure::{Failure, FailureKind};

/// A thread with its own runtime. It ends when this is dropped.
pub(crate) struct Service {
    runtime: Handle,
    _alive: oneshot::Sender<()>,
}

/// Aborts a task when it is dropped.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("arbiter-service".into())
            .spawn(move || {
                // It completes when the sender is dropped.
                let _ = runtime.block_on(ended);
            })?;
        Ok(Self {
            runtime: handle,
            _alive: alive,
        })
    }

    /// Returns whether this is the thread.
    pub(crate) fn is_current(&self) -> bool {
        Handle::try_current().is_ok_and(|handle| handle.id() == self.runtime.id())
    }

    /// Runs a task on the thread.
    #[cfg(feature = "redis")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    pub(crate) fn error(e: &io::Error, store: &str) -> Error {
        let failure =
            Failure::before_sending(FailureKind::Other, format!("no service thread: {e}"));
        Error::of_store("", store, failure)
    }

    /// Runs the work on the thread. The work is aborted if the returned future is dropped.
    pub(crate) fn run<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, W> {
        let mut task = AbortOnDrop(self.runtime.spawn(work));
        async move {
            match (&mut task.0).await {
                Ok(done) => Ok(done),
                Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
                Err(_) => Err(Error::Closed),
            }
        }
    }
}
