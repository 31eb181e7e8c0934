//! Sessions: several acquisitions as one logical owner.
//!
//! Re-entry is counted here and never reaches the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arbiter_lock_core::Name;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::client::Inner;
use crate::error::{Error, Invalid};
use crate::guard::Grip;
use crate::lock::Lock;
use crate::options::{Options, Patience};
use crate::store::{Failure, FailureKind};
use crate::waiting::{self, News};

/// One logical owner: its locks may be acquired again while it holds them.
///
/// A nested acquire makes no round trip and has the fence of the outermost hold; the last of
/// the guards frees. Tasks that share a session share its holds: they do not exclude each
/// other. Acquisitions that wait at the same time share one place in the queue, which is given
/// up when the last of them gives up. After a loss, old guards stay lost, and the next acquire
/// is a new request.
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
    inner: Arc<Inner>,
    nest: Arc<Nest>,
}

impl Session {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            nest: Arc::default(),
        }
    }

    /// A lock whose acquisitions belong to this session.
    pub fn lock(&self, name: &str) -> Lock {
        Lock::of_session(self.inner.clone(), name, self.nest.clone())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What a session holds and waits for.
#[derive(Default)]
pub(crate) struct Nest {
    names: Mutex<HashMap<Name, Entry>>,
}

#[derive(Default)]
struct Entry {
    held: Weak<Grip>,
    pending: Option<(WeakShared<Acquiring>, News)>,
}

type Acquired = Result<Arc<Grip>, Error>;
type Acquiring = BoxFuture<'static, Acquired>;

/// How an acquisition of a session comes to its hold.
enum Way {
    Held(Arc<Grip>),
    Wait(Shared<Acquiring>, News),
    Alone,
}

impl Nest {
    pub(crate) async fn acquire(
        self: Arc<Self>,
        inner: Arc<Inner>,
        name: Name,
        options: Arc<Options>,
    ) -> Acquired {
        options.check()?;
        loop {
            let grip = match self.way(&inner, &name, &options) {
                Way::Held(grip) => grip,
                Way::Alone => {
                    self.acquire_alone(inner.clone(), name.clone(), options.clone())
                        .await?
                }
                Way::Wait(shared, news) => {
                    wait(&inner, &name, options.patience, shared, news).await?
                }
            };
            same_settings(&grip.state.options, &options)?;
            // One that was lost before its sharer came to see it is no hold.
            if grip.state.over().is_none() {
                return Ok(grip);
            }
        }
    }

    fn way(self: &Arc<Self>, inner: &Arc<Inner>, name: &Name, options: &Arc<Options>) -> Way {
        let mut names = self.names();
        names.retain(|other, entry| other == name || entry.is_in_use());
        let entry = names.entry(name.clone()).or_default();
        if let Some(grip) = entry
            .held
            .upgrade()
            .filter(|grip| grip.state.over().is_none())
        {
            return Way::Held(grip);
        }
        if let Patience::Try | Patience::AtMost(Duration::ZERO) = options.patience {
            return Way::Alone;
        }
        if let Some((shared, news)) = &entry.pending
            && let Some(shared) = shared.upgrade().filter(|shared| shared.peek().is_none())
        {
            return Way::Wait(shared, news.clone());
        }
        let news = News::default();
        let shared = self
            .clone()
            .acquire_shared(inner.clone(), name.clone(), options, news.clone())
            .shared();
        entry.pending = shared.downgrade().map(|weak| (weak, news.clone()));
        Way::Wait(shared, news)
    }

    /// The one request of all who wait: each of them has its own limit, the request has none.
    fn acquire_shared(
        self: Arc<Self>,
        inner: Arc<Inner>,
        name: Name,
        options: &Options,
        news: News,
    ) -> Acquiring {
        let options = Arc::new(Options {
            patience: Patience::Forever,
            ..options.clone()
        });
        async move {
            let hold = waiting::acquire(inner.clone(), name.clone(), options, news).await?;
            Ok(self.enter(name, Grip::new(inner, hold)))
        }
        .boxed()
    }

    async fn acquire_alone(
        &self,
        inner: Arc<Inner>,
        name: Name,
        options: Arc<Options>,
    ) -> Acquired {
        let hold = waiting::acquire(inner.clone(), name.clone(), options, News::default()).await?;
        Ok(self.enter(name, Grip::new(inner, hold)))
    }

    fn enter(&self, name: Name, grip: Arc<Grip>) -> Arc<Grip> {
        self.names().entry(name).or_default().held = Arc::downgrade(&grip);
        grip
    }

    fn names(&self) -> MutexGuard<'_, HashMap<Name, Entry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_in_use(&self) -> bool {
        let is_pending = self
            .pending
            .as_ref()
            .is_some_and(|(shared, _)| shared.upgrade().is_some());
        0 < self.held.strong_count() || is_pending
    }
}

/// Waits for the shared request with a limit of one's own.
async fn wait(
    inner: &Inner,
    name: &Name,
    patience: Patience,
    shared: Shared<Acquiring>,
    news: News,
) -> Acquired {
    let Patience::AtMost(limit) = patience else {
        return shared.await;
    };
    match tokio::time::timeout(limit, shared).await {
        Ok(acquired) => acquired,
        Err(_) => Err(news.latest().map_or_else(
            || {
                let failure =
                    Failure::unknown(FailureKind::Silent, "no answer within the time to wait");
                Error::of_store(name.as_str(), &inner.store.to_string(), failure)
            },
            |contended| Error::Contended(Box::new(contended)),
        )),
    }
}

/// Re-entry keeps the settings of the outermost hold; others are refused.
fn same_settings(held: &Options, asked: &Options) -> Result<(), Error> {
    let Options {
        patience: _,
        lease,
        watchdog,
        interval,
        margin,
        max_hold,
        note: _,
    } = asked;
    let same = *lease == held.lease
        && *watchdog == held.watchdog
        && *interval == held.interval
        && *margin == held.margin
        && *max_hold == held.max_hold;
    if same {
        return Ok(());
    }
    Err(Invalid::error(
        "lock",
        "a nested acquire of a session takes the settings of the outermost hold, and these differ",
    ))
}
