//! What a session holds and waits for.
//!
//! Re-entry is counted here and never reaches the store.

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
use crate::sessions::session_id::SessionId;
use crate::system::process::LeakInChild;
use crate::waiting::{self, News, Origin};

/// What a session holds and waits for.
pub(crate) struct SessionState {
    id: SessionId,
    names: LeakInChild<Mutex<HashMap<Name, NameEntry>>>,
    /// Told when something is held anew: who waits for it apart need not wait any more.
    entered: Notify,
}

#[derive(Default)]
struct NameEntry {
    held: Weak<Grip>,
    state: Weak<HoldState>,
    pending: Vec<Pending>,
}

/// A request that may be shared by those who ask for the same in the same runtime: a runtime that
/// is blocked or dropped takes only its own along.
struct Pending {
    shared: WeakShared<Acquiring>,
    news: News,
    mode: Mode,
    options: Arc<Options>,
    runtime: Id,
}

type Acquired = Result<Arc<Grip>, Error>;
type Acquiring = BoxFuture<'static, Acquired>;

/// How an acquisition of a session comes to its hold.
enum HoldSource {
    Held(Arc<Grip>),
    Wait(Shared<Acquiring>, News),
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
                    match self
                        .acquire_alone(inner.clone(), name.clone(), mode, options.clone(), origin)
                        .await
                    {
                        // Another task of the session was quicker.
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
                                // The request has no limit of its own, but for a silent store.
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
            // One that was lost before its sharer came to see it is no hold.
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
        // The drop of the last handle of a request ends the request: after the lock is released.
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
        let shared = self
            .clone()
            .acquire_shared(inner.clone(), name.clone(), mode, options, origin)
            .shared();
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

    /// The one request of all who wait: each of them has its own limit, the request has none.
    fn acquire_shared(
        self: Arc<Self>,
        inner: Arc<Engine>,
        name: Name,
        mode: Mode,
        options: &Options,
        origin: Origin,
    ) -> Acquiring {
        let options = Arc::new(Options {
            wait_limit: WaitLimit::Forever,
            ..options.clone()
        });
        async move {
            let hold = waiting::acquire(inner.clone(), name.clone(), mode, options, origin).await?;
            Ok(self.enter(name, Grip::new(inner, hold)))
        }
        .boxed()
    }

    async fn acquire_alone(
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

    /// The session holds. Of two that came to share at the same time, one is enough.
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

    /// Waits until another task has come to hold that name. Of what the session comes to hold
    /// otherwise, nothing is to be noticed: who waits keeps its place.
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
    /// Its caller lets go of the grip only where no lock is held: the last one releases.
    fn held(&self) -> Option<Arc<Grip>> {
        let is_held = self.is_held();
        is_held.then(|| self.held.upgrade()).flatten()
    }

    /// Without a hand on the grip: whoever lets go of the last one releases.
    fn is_held(&self) -> bool {
        self.left().is_some_and(|state| !state.is_over())
    }

    /// The owner of the hold that was lost, while guards of it are left.
    fn lost(&self) -> Option<Arc<str>> {
        let lost = self.left().filter(|state| state.is_over());
        lost.map(|state| state.contender.id.clone())
    }

    /// The hold of which guards are left.
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

/// How long to stand aside when the store was silent for too long for a wait without limit.
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

/// Waits for the shared request with a limit of one's own.
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
            None => {
                let store = inner.store.to_string();
                Error::of_store(name.as_str(), &store, waiting::too_short())
            }
        }),
    }
}

/// No reader becomes the writer while it holds.
fn no_upgrade(name: &Name) -> Error {
    Invalid::new(
        "lock",
        format!(
            "the session holds '{}' as a reader and asks to write: two readers that did so would wait for each other; release it first, or write from the beginning",
            name.as_str().escape_debug(),
        ),
    ).into()
}

/// Re-entry keeps the settings of the outermost hold; others are refused.
fn same_settings(held: &Options, asked: &Options) -> Result<(), Error> {
    let Options {
        wait_limit: _,
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
    Err(Invalid::new(
        "lock",
        "a nested acquire of a session takes the settings of the outermost hold, and these differ",
    )
    .into())
}
