//! The session: one logical owner of nested locks.

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::primitives::lock::Lock;
use crate::primitives::rw_lock::RwLock;
use crate::sessions::state::SessionState;

/// A logical owner whose locks are reentrant.
///
/// A lock that the session holds can be acquired again, without a round trip. The nested guard has
/// the fence of the outermost one, and the last guard releases. Tasks that share a session share
/// its holds, so they do not exclude each other.
///
/// Concurrent acquires of one name share one place in the queue. The request leaves the queue when
/// the last of their futures is dropped or times out. Once granted, it is held until each future
/// has been polled or dropped, and all guards are dropped.
///
/// # Readers and writers
/// While the session writes, it can acquire the name again as a reader or a writer; while it reads,
/// as a reader only. To write while it reads, or after a downgrade, fails with
/// [`Error::Invalid`](crate::Error::Invalid), as does a downgrade while another guard writes.
///
/// # Loss
/// After a loss, existing guards stay lost, and the next acquire is a new request.
///
/// # Deadlocks
/// Sessions of one client can wait for each other: one holds `x` and waits for `y`, while another
/// holds `y` and waits for `x`. About 1 s after such a cycle has closed, the session that began to
/// wait last gets [`Error::Deadlock`](crate::Error::Deadlock). The others continue once it
/// releases.
///
/// The detection assumes that a session that waits does not release meanwhile, so independent tasks
/// need separate sessions. A cycle through another client, or through a lock without a session, is
/// not detected.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = arbiter_lock::Client::in_memory();
/// let session = client.session();
/// let outer = session.lock("account").acquire().await?;
/// let inner = session.lock("account").acquire().await?;
/// assert_eq!(outer.fence(), inner.fence());
/// inner.release().await?; // still held
/// assert!(outer.is_held());
/// outer.release().await?; // free
/// # Ok(()) }
/// ```
pub struct Session {
    inner: Arc<Engine>,
    state: Arc<SessionState>,
}

impl Session {
    pub(crate) fn new(inner: Arc<Engine>) -> Self {
        Self {
            inner,
            state: Arc::new(SessionState::new()),
        }
    }

    /// Returns a lock whose guards belong to this session.
    pub fn lock(&self, name: &str) -> Lock {
        Lock::of_session(self.inner.clone(), name, self.state.clone())
    }

    /// Returns an rw lock whose guards belong to this session.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let session = client.session();
    /// let writer = session.rw_lock("catalog").write().await?;
    /// let reader = session.rw_lock("catalog").read().await?; // shares the writer's hold
    /// assert_eq!(writer.fence(), reader.fence());
    /// # Ok(()) }
    /// ```
    pub fn rw_lock(&self, name: &str) -> RwLock {
        RwLock::new(self.lock(name))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
