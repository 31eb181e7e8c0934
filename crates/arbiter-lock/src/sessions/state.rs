//! The holds and requests of a session.
//!
//! Nested acquires are counted here and never reach the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arbiter_lock_core::{Mode, Name};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::holds::guard::{Grip, Guard};
use crate::holds::hold::HoldState;
use crate::primitives::options::{Options, WaitLimit};
use crate::printable::Printable;
use crate::sessions::session_id::SessionId;
use crate::system::process::LeakInChild;
use crate::waiting::{self, News, Origin};

/// The holds and requests of a session.
pub(crate) struct SessionState {
    id: SessionId,
    names: LeakInChild<Mutex<HashMap<Name, NameEntry>>>,
    /// Notified when the session has acquired a hold, for tasks that wait for the same name.
    entered: Notify,
}

#[derive(Default)]
struct NameEntry {
    held: Weak<Grip>,
    state: Weak<HoldState>,
    pending: Vec<Pending>,
}

/// A request that equal acquires of the same runtime share.
///
/// A runtime that is blocked or dropped affects only its own requests.
struct Pending {
    shared: WeakShared<Acquiring>,
    news: News,
    mode: Mode,
    options: Arc<Options>,
    runtime: Id,
}

type Acquired = Result<Arc<Grip>, Error>;
type Acquiring = BoxFuture<'static, Acquired>;

/// The source of the hold that an acquire of a session returns.
enum HoldSource {
    /// A hold of the session.
    Held(Arc<Grip>),
    /// A shared request.
    Wait(Shared<Acquiring>, News),
    /// A request of its own.
    Alone(Origin),
}

impl SessionState {
    pub(crate) fn new() -> Self {
        Self {
            id: SessionId::next(),
            names: LeakInChild::default(),
            entered: Notify::new(),
        }
    }

    pub(crate) async fn acquire(
        self: Arc<Self>,
        inner: Arc<Engine>,
        name: Name,
        mode: Mode,
        options: Arc<Options>,
    ) -> Result<Guard, Error> {
        options.check()?;
        let begun = inner.clock.now();
        loop {
            let grip = match self.source(&inner, &name, mode, &options) {
                HoldSource::Held(grip) => grip,
                HoldSource::Alone(origin) => {
                    let request =
                        self.request(inner.clone(), name.clone(), mode, options.clone(), origin);
                    match request.await {
                        // Another task of the session was faster.
                        Err(Error::Contended(_)) if self.holds(&name) => continue,
                        acquired => acquired?,
                    }
                }
                HoldSource::Wait(shared, news) => {
                    let waited = inner.clock.now().saturating_sub(begun);
                    tokio::select! {
                        biased;
                        acquired = wait(&inner, &name, options.wait_limit, waited, shared, news) => {
                            match acquired {
                                // The shared request ended by the store timeout.
                                Err(Error::Unavailable(_)) if has_time(&inner, options.wait_limit, begun) => {
                                    tokio::time::sleep(PAUSE).await;
                                    continue;
                                }
                                acquired => acquired?,
                            }
                        }
                        () = self.held_after_all(&name) => continue,
                    }
                }
            };
            same_settings(&grip.state.options, &options)?;
            // The hold may have been lost before this task was polled.
            if grip.state.over().is_none() {
                return Guard::of_session(grip, mode).ok_or_else(|| no_upgrade(&name));
            }
        }
    }

    fn source(
        self: &Arc<Self>,
        inner: &Arc<Engine>,
        name: &Name,
        mode: Mode,
        options: &Arc<Options>,
    ) -> HoldSource {
        // Dropping the last handle of a request ends it, which must happen without the lock.
        let mut seen = Vec::new();
        let mut names = self.names();
        names.retain(|other, entry| other == name || entry.is_in_use(&mut seen));
        let entry = names.entry(name.clone()).or_default();
        if let Some(grip) = entry.held() {
            return HoldSource::Held(grip);
        }
        let origin = Origin {
            session: Some(self.id),
            lost: entry.lost(),
            news: News::default(),
        };
        if let WaitLimit::Try | WaitLimit::AtMost(Duration::ZERO) = options.wait_limit {
            return HoldSource::Alone(origin);
        }
        let runtime = Handle::current().id();
        entry.pending.retain(|pending| pending.is_in_use(&mut seen));
        let alike = entry.pending.iter().find(|pending| {
            pending.runtime == runtime
                && pending.mode == mode
                && same_settings(&pending.options, options).is_ok()
        });
        if let Some(pending) = alike
            && let Some(shared) = pending.shared.upgrade()
            && shared.peek().is_none()
        {
            return HoldSource::Wait(shared, pending.news.clone());
        }
        let news = origin.news.clone();
        // Each future that shares the request has its own limit.
        let unlimited = Arc::new(Options {
            wait_limit: WaitLimit::Forever,
            ..Options::clone(options)
        });
        let (state, inner, name) = (self.clone(), inner.clone(), name.clone());
        let requesting =
            async move { state.request(inner, name, mode, unlimited, origin).await }.boxed();
        let shared = requesting.shared();
        entry
            .pending
            .extend(shared.downgrade().map(|shared| Pending {
                shared,
                news: news.clone(),
                mode,
                options: options.clone(),
                runtime,
            }));
        HoldSource::Wait(shared, news)
    }

    async fn request(
        &self,
        inner: Arc<Engine>,
        name: Name,
        mode: Mode,
        options: Arc<Options>,
        origin: Origin,
    ) -> Acquired {
        let hold = waiting::acquire(inner.clone(), name.clone(), mode, options, origin).await?;
        Ok(self.enter(name, Grip::new(inner, hold)))
    }

    /// Adds a hold. If the session already shares the name, the earlier hold is kept.
    fn enter(&self, name: Name, grip: Arc<Grip>) -> Arc<Grip> {
        let mut names = self.names();
        let entry = names.entry(name).or_default();
        let held = entry.held();
        let is_shared = |grip: &Arc<Grip>| grip.state.is_shared();
        if held.as_ref().is_some_and(is_shared) && is_shared(&grip) {
            drop(names);
            return held.unwrap_or(grip);
        }
        entry.held = Arc::downgrade(&grip);
        entry.state = Arc::downgrade(&grip.state);
        drop(names);
        self.entered.notify_waiters();
        grip
    }

    /// Waits until another task of the session has acquired that name.
    async fn held_after_all(&self, name: &Name) {
        loop {
            let entered = self.entered.notified();
            if self.holds(name) {
                return;
            }
            entered.await;
        }
    }

    fn holds(&self, name: &Name) -> bool {
        self.names().get(name).is_some_and(NameEntry::is_held)
    }

    fn names(&self) -> MutexGuard<'_, HashMap<Name, NameEntry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameEntry {
    /// Returns the hold, if there is one. The caller must drop it without holding the lock, since
    /// dropping the last grip releases.
    fn held(&self) -> Option<Arc<Grip>> {
        let is_held = self.is_held();
        is_held.then(|| self.held.upgrade()).flatten()
    }

    /// Returns whether the session holds the name, without cloning the grip.
    fn is_held(&self) -> bool {
        self.left().is_some_and(|state| !state.is_over())
    }

    /// Returns the owner of a hold that was lost, as long as guards of it exist.
    fn lost(&self) -> Option<Arc<str>> {
        let lost = self.left().filter(|state| state.is_over());
        lost.map(|state| state.contender.id.clone())
    }

    /// Returns the hold, as long as guards of it exist.
    fn left(&self) -> Option<Arc<HoldState>> {
        let state = self.state.upgrade();
        state.filter(|_| 0 < self.held.strong_count())
    }

    fn is_in_use(&self, seen: &mut Vec<Shared<Acquiring>>) -> bool {
        let mut pending = self.pending.iter();
        0 < self.held.strong_count() || pending.any(|pending| pending.is_in_use(seen))
    }
}

impl Pending {
    fn is_in_use(&self, seen: &mut Vec<Shared<Acquiring>>) -> bool {
        let shared = self.shared.upgrade();
        let is_in_use = shared.as_ref().is_some_and(|s| s.peek().is_none());
        seen.extend(shared);
        is_in_use
    }
}

/// How long to pause after the store timeout ended a shared request.
const PAUSE: Duration = Duration::from_millis(50);

fn has_time(inner: &Engine, wait_limit: WaitLimit, begun: Duration) -> bool {
    let WaitLimit::AtMost(limit) = wait_limit else {
        return false;
    };
    inner
        .clock
        .now()
        .saturating_sub(begun)
        .saturating_add(PAUSE)
        < limit
}

/// Waits for the shared request within the wait limit.
async fn wait(
    inner: &Engine,
    name: &Name,
    wait_limit: WaitLimit,
    waited: Duration,
    shared: Shared<Acquiring>,
    news: News,
) -> Acquired {
    let WaitLimit::AtMost(limit) = wait_limit else {
        return shared.await;
    };
    let left = limit.saturating_sub(waited);
    match tokio::time::timeout(left, shared).await {
        Ok(acquired) => acquired,
        Err(_) => Err(match news.latest() {
            Some(Error::Contended(mut contended)) => {
                contended.waited = limit;
                Error::Contended(contended)
            }
            Some(error) => error,
            None => inner.store_error(name, waiting::too_short()),
        }),
    }
}

fn no_upgrade(name: &Name) -> Error {
    Invalid::new(
        "lock",
        format!(
            "the session holds '{}' as a reader and asks to write: two readers that did so would wait for each other; release it first, or write from the beginning",
            Printable(name.as_str()),
        ),
    ).into()
}

/// Returns an error if a nested acquire has other settings than the outermost hold.
fn same_settings(held: &Options, asked: &Options) -> Result<(), Error> {
    let Options {
        wait_limit: _,
        lease,
        watchdog,
        interval,
        margin,
        max_hold,
        acknowledgement,
        note: _,
        primitive: _,
    } = asked;
    let same = *lease == held.lease
        && *watchdog == held.watchdog
        && *interval == held.interval
        && *margin == held.margin
        && *max_hold == held.max_hold
        && *acknowledgement == held.acknowledgement;
    if same {
        return Ok(());
    }
    Err(Invalid::new(
        "lock",
        "a nested acquire of a session takes the settings of the outermost hold, and these differ",
    )
    .into())
}
