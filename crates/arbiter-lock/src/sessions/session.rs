//! Sessions: several acquisitions as one logical owner.

use std::fmt;
use std::sync::Arc;

use crate::engine::Engine;
use crate::primitives::lock::Lock;
use crate::primitives::rw_lock::RwLock;
use crate::sessions::state::SessionState;

/// One logical owner: its locks may be acquired again while it holds them.
///
/// A nested acquire makes no round trip and has the fence of the outermost hold; the last of
/// the guards frees. Tasks that share a session share its holds: they do not exclude each
/// other. Acquisitions that wait at the same time share one place in the queue, which is given
/// up when the last of them gives up; once it is granted, it is held until each of them has been
/// polled or dropped, and the last guard is gone.
///
/// Who reads or writes while the session writes, and who reads while it reads, shares its hold.
/// Who would write while it reads, or once it has been downgraded, is refused
/// ([`Error::Invalid`](crate::Error::Invalid)), and so is a downgrade while another of its guards
/// writes. After a loss, old guards stay lost, and the next acquire is a new request.
///
/// Sessions of one client that wait for each other would wait forever: one holds `x` and waits for
/// `y`, which the other holds that waits for `x`. Of the sessions in such a circle the one that began
/// to wait last gets [`Error::Deadlock`](crate::Error::Deadlock), about a second after the circle has
/// closed; the others go on once it releases. A session that waits counts as one that does not
/// release meanwhile, so tasks that work on their own need sessions of their own. A circle through
/// another client, or through a lock without a session, is not seen.
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

    /// A lock whose acquisitions belong to this session.
    pub fn lock(&self, name: &str) -> Lock {
        Lock::of_session(self.inner.clone(), name, self.state.clone())
    }

    /// A lock with readers and a writer whose acquisitions belong to this session.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let session = client.session();
    /// let writer = session.rw_lock("catalogue").write().await?;
    /// let reader = session.rw_lock("catalogue").read().await?; // shares the writer's hold
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
