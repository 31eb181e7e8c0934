//! The memory store: the core behind a mutex, on the runtime's clock.

#[cfg(feature = "testing")]
mod counters;
#[cfg(feature = "testing")]
mod faults;
pub(crate) mod handle;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

#[cfg(feature = "testing")]
use arbiter_lock_core::Broken;
use arbiter_lock_core::{Answer, Grant, Moment, Name, Renewal, Renewed, Reply, Request, Resource};

use tokio::sync::watch;

#[cfg(feature = "testing")]
pub use faults::FaultInjection;
#[cfg(feature = "testing")]
use faults::Stalls;

use super::{Envelope, Failure, FailureKind, KeyPrefix, Page, Push, Registry, Source};
use crate::errors::failure::nothing;
use crate::system::clock::{Clock, date};
use crate::system::process::PerProcess;

/// All resources of a memory store.
pub(crate) struct MemoryStore {
    clock: Clock,
    wall: Mutex<Wall>,
    names: Mutex<Names>,
    listeners: Mutex<HashMap<Arc<str>, Weak<Registry>>>,
    /// Whether it does nothing and sends no replies, for tests.
    silent: watch::Sender<bool>,
    /// The network between the store and its clients, if a test has made one.
    #[cfg(feature = "testing")]
    faults: Mutex<Option<FaultInjection>>,
    #[cfg(feature = "testing")]
    stalls: Stalls,
    #[cfg(feature = "testing")]
    counters: Mutex<counters::Counters>,
}

#[derive(Default)]
struct Names {
    /// By their keys.
    resources: HashMap<Arc<str>, Resource>,
    /// Steps since the last sweep for forgotten names.
    steps: usize,
    /// The key of the latest step, so that a step does not allocate one.
    key: String,
}

/// A name with the prefix of the client that uses it: the parts of a key.
#[derive(Clone)]
struct PrefixedName {
    prefix: KeyPrefix,
    name: Name,
}

/// The store's wall clock, from which fences are made.
#[derive(Clone, Copy)]
struct Wall {
    /// The time that it showed at `since` of the local clock, in microseconds.
    shown_us: u64,
    since: Duration,
    /// Microseconds that it gains on the local clock in a second.
    gains_us: i64,
}

impl Wall {
    fn start() -> Self {
        Self {
            shown_us: wall_us(),
            since: Duration::ZERO,
            gains_us: 0,
        }
    }

    fn at(&self, now: Duration) -> Moment {
        let passed = i128::try_from(now.saturating_sub(self.since).as_micros()).unwrap_or_default();
        let passed = passed + passed * i128::from(self.gains_us) / 1_000_000;
        let passed = u64::try_from(passed).unwrap_or_default();
        Moment::from_micros(self.shown_us.saturating_add(passed))
    }
}

const SWEEP_EVERY: usize = 1_024;
/// How long a step waits for a reply at most, as over a network.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self {
            clock: Clock::runtime(),
            wall: Mutex::new(Wall::start()),
            names: Mutex::default(),
            listeners: Mutex::default(),
            silent: watch::Sender::new(false),
            #[cfg(feature = "testing")]
            faults: Mutex::default(),
            #[cfg(feature = "testing")]
            stalls: Stalls::default(),
            #[cfg(feature = "testing")]
            counters: Mutex::default(),
        }
    }

    /// Returns the store of that name, which exists while it is used.
    ///
    /// A forked process has stores of its own: in a copy of a parent's store, the holds of the
    /// parent would never be renewed.
    pub(crate) fn shared(name: &str) -> Arc<Self> {
        static STORES: PerProcess<Mutex<HashMap<String, Weak<MemoryStore>>>> = PerProcess::new();
        let stores = STORES.get().lock();
        let mut stores = stores.unwrap_or_else(PoisonError::into_inner);
        stores.retain(|_, store| 0 < store.strong_count());
        if let Some(store) = stores.get(name).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::new(Self::new());
        stores.insert(name.to_owned(), Arc::downgrade(&store));
        store
    }

    fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    fn now(&self) -> Moment {
        let wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        wall.at(self.clock.now())
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Weak<Registry>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn listens(&self, channel: &str) -> bool {
        self.listeners()
            .get(channel)
            .is_some_and(|registry| 0 < registry.strong_count())
    }

    /// Applies a request, and notifies the other requests that it has granted.
    fn answer(&self, of: &PrefixedName, request: &Request) -> Envelope<Reply> {
        let (answer, at) = self.step(of, |resource, now| {
            request.apply(resource, now, |channel| self.listens(channel))
        });
        let Answer {
            reply,
            granted,
            again,
        } = answer;
        for grant in granted {
            self.notify(of, grant);
        }
        #[cfg(feature = "testing")]
        self.counters().answered(&of.name, request, &reply);
        Envelope::new(reply, at, again)
    }

    /// Returns a page of the names behind one, in order.
    fn names_after(&self, prefix: &KeyPrefix, cursor: &str) -> Page {
        let behind = prefix.key(cursor);
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = names.resources.keys();
        let after =
            keys.filter(|key| behind.as_str() < &***key && key.starts_with(prefix.as_str()));
        let mut after: Vec<Arc<str>> = after.cloned().collect();
        drop(names);
        after.sort_unstable();
        Page::in_order(prefix, &after)
    }

    fn renew(&self, of: &PrefixedName, renewal: &Renewal) -> Renewed {
        let (renewed, _) = self.step(of, |resource, now| {
            resource.renew(now, &renewal.owner, renewal.fence, renewal.lease_ms)
        });
        #[cfg(feature = "testing")]
        self.counters().renewed(renewed);
        renewed
    }

    /// Applies a step to the resource of that name, and returns the time of the step too.
    fn step<T>(
        &self,
        of: &PrefixedName,
        step: impl FnOnce(&mut Resource, Moment) -> T,
    ) -> (T, Moment) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let names = &mut *names;
        let at = self.now();
        names.steps += 1;
        if SWEEP_EVERY <= names.steps {
            names.steps = 0;
            names
                .resources
                .retain(|_, resource| !resource.is_forgotten(at));
        }
        names.key.clear();
        names.key.push_str(of.prefix.as_str());
        names.key.push_str(of.name.as_str());
        let key = names.key.as_str();
        let resource = match names.resources.get_mut(key) {
            Some(known) => known,
            None => names.resources.entry(key.into()).or_default(),
        };
        #[cfg(feature = "testing")]
        let before = self.has_faults().then(|| resource.inspect(at));
        let reply = step(resource, at);
        #[cfg(feature = "testing")]
        if let Some(before) = before {
            self.counters().stepped(&before, &resource.inspect(at));
        }
        (reply, at)
    }

    fn notify(&self, of: &PrefixedName, grant: Grant) {
        let registry = self.listeners().get(&grant.channel).and_then(Weak::upgrade);
        if let Some(registry) = registry {
            let channel = grant.channel.clone();
            self.deliver(&of.name, grant.into(), &channel, registry);
        }
    }
}

#[cfg(not(feature = "testing"))]
impl MemoryStore {
    fn has_faults(&self) -> bool {
        false
    }

    fn deliver(&self, _: &Name, push: Push, _: &Arc<str>, to: Arc<Registry>) {
        to.deliver(Source::default(), push);
    }
}

#[cfg(feature = "testing")]
impl MemoryStore {
    fn faults(&self) -> Option<FaultInjection> {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: Option<FaultInjection>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    fn has_faults(&self) -> bool {
        self.faults().is_some()
    }

    /// Delays everything on the link of that channel for `time`.
    pub(crate) fn stall(&self, channel: &Arc<str>, time: Duration) {
        self.stalls.stall(channel, time);
    }

    /// Makes the store's clock gain `gains_us` microseconds in a second from now on.
    pub(crate) fn drift(&self, gains_us: i64) {
        let now = self.clock.now();
        let mut wall = self.wall.lock().unwrap_or_else(PoisonError::into_inner);
        *wall = Wall {
            shown_us: wall.at(now).as_micros(),
            since: now,
            gains_us,
        };
    }

    pub(crate) fn counters(&self) -> std::sync::MutexGuard<'_, counters::Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, name: &Name, push: Push, channel: &Arc<str>, to: Arc<Registry>) {
        match self.faults() {
            None => to.deliver(Source::default(), push),
            Some(faults) => {
                self.counters().pushed(name, &push.request, push.fence);
                let route = self.stalls.of(channel);
                faults.push(&push, &route, move |push| {
                    to.deliver(Source::default(), push)
                });
            }
        }
    }

    /// Ends the hold of that name, as if its lease had expired. Returns whether there was one.
    pub(crate) fn expire(&self, prefix: &KeyPrefix, name: Name) -> bool {
        let prefix = prefix.clone();
        let of = PrefixedName { prefix, name };
        let (status, _) = self.step(&of, |resource, now| resource.inspect(now));
        let fence = status.holder.and_then(|holder| holder.fence);
        fence.is_some_and(|fence| {
            let at_once = true;
            let answer = self.answer(&of, &Request::Break { fence, at_once });
            answer.reply == Reply::Broken(Broken::Freed)
        })
    }

    /// Stops or resumes replies.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

fn wall_us() -> u64 {
    #[cfg(feature = "testing")]
    if crate::system::rng::seeded::is_seeded() {
        return 1_000_000_000_000_000;
    }
    u64::try_from(date().as_micros()).unwrap_or_default()
}

fn silent(limit: Duration) -> Failure {
    Failure::unknown(FailureKind::Silent, nothing("answer", limit))
}
