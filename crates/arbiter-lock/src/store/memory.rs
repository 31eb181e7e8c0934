//! The memory store: the core behind a mutex, on the runtime's clock.

#[cfg(feature = "testing")]
mod counters;
#[cfg(feature = "testing")]
mod faults;
mod handle;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[cfg(feature = "testing")]
use arbiter_lock_core::Broken;
use arbiter_lock_core::{Answer, Ended, Grant, Moment, Name, Request, Resource};

use tokio::sync::watch;

#[cfg(feature = "testing")]
pub use faults::FaultInjection;
#[cfg(feature = "testing")]
use faults::Stalls;
pub(crate) use handle::MemoryHandle;

use super::{EndedEnvelope, Envelope, Failure, FailureKind, PendingRelease, Push, Registry};
use crate::system::clock::Clock;
use crate::system::process::PerProcess;

/// All names of one memory store.
pub(crate) struct MemoryStore {
    clock: Clock,
    wall: Mutex<Wall>,
    names: Mutex<Names>,
    listeners: Mutex<HashMap<Arc<str>, Weak<Registry>>>,
    /// Whether it answers nothing and does nothing, for tests.
    silent: watch::Sender<bool>,
    /// The network between it and its clients, where a test has made one.
    #[cfg(feature = "testing")]
    weather: Mutex<Option<FaultInjection>>,
    #[cfg(feature = "testing")]
    stalls: Stalls,
    #[cfg(feature = "testing")]
    sights: Mutex<counters::Counters>,
}

#[derive(Default)]
struct Names {
    resources: HashMap<Name, Resource>,
    /// Steps since what is forgotten was swept out.
    steps: usize,
}

/// The store's wall clock: fences are made of it.
#[derive(Clone, Copy)]
struct Wall {
    /// What it showed at that moment of the local clock, in microseconds.
    shown_us: u64,
    since: Duration,
    /// What it gains on the local clock in a second, in microseconds.
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
/// What a step waits for an answer at the most, as over a network.
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
            weather: Mutex::default(),
            #[cfg(feature = "testing")]
            stalls: Stalls::default(),
            #[cfg(feature = "testing")]
            sights: Mutex::default(),
        }
    }

    /// Returns the store of that name, which lives while it is used. A forked process has stores
    /// of its own: in a copy of its parent's, the parent's holds would never be renewed.
    pub(crate) fn shared(name: &str) -> Arc<Self> {
        static WORLDS: PerProcess<Mutex<HashMap<String, Weak<MemoryStore>>>> = PerProcess::new();
        let worlds = WORLDS.get().lock();
        let mut worlds = worlds.unwrap_or_else(PoisonError::into_inner);
        worlds.retain(|_, world| 0 < world.strong_count());
        if let Some(world) = worlds.get(name).and_then(Weak::upgrade) {
            return world;
        }
        let world = Arc::new(Self::new());
        worlds.insert(name.to_owned(), Arc::downgrade(&world));
        world
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(super) fn handle(
        self: &Arc<Self>,
        channel: Arc<str>,
        registry: &Arc<Registry>,
    ) -> MemoryHandle {
        self.listeners()
            .insert(channel.clone(), Arc::downgrade(registry));
        MemoryHandle {
            world: self.clone(),
            channel,
        }
    }

    /// Ends a request at once, unless the store is silent.
    pub(super) fn end_at_once(&self, order: &PendingRelease) -> Option<Ended> {
        if self.is_silent() || self.is_disturbed() {
            return None;
        }
        let end = || self.end(&order.name, &order.request, order.tombstone);
        let EndedEnvelope { reply, mut again } = end();
        while again {
            again = end().again;
        }
        Some(reply)
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

    /// Does a step of the resource of that name.
    fn step<T>(&self, name: &Name, step: impl FnOnce(&mut Resource, Moment) -> T) -> Envelope<T> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.now();
        names.steps += 1;
        if SWEEP_EVERY <= names.steps {
            names.steps = 0;
            names
                .resources
                .retain(|_, resource| !resource.is_forgotten(at));
        }
        let resource = names.resources.entry(name.clone()).or_default();
        #[cfg(feature = "testing")]
        let before = self.is_disturbed().then(|| resource.inspect(at));
        let reply = step(resource, at);
        #[cfg(feature = "testing")]
        if let Some(before) = before {
            self.counters().stepped(&before, &resource.inspect(at));
        }
        Envelope {
            reply,
            at,
            again: false,
        }
    }

    /// Tells everybody whom a step has granted.
    fn told<T>(&self, name: &Name, said: Envelope<Answer<T>>) -> Envelope<T> {
        let Envelope {
            reply:
                Answer {
                    reply,
                    granted,
                    again,
                },
            at,
            ..
        } = said;
        for Grant {
            request,
            channel,
            fence,
            life_ms,
            at,
        } in granted
        {
            let registry = self.listeners().get(&channel).and_then(Weak::upgrade);
            if let Some(registry) = registry {
                let push = Push {
                    request,
                    fence,
                    life_ms,
                    at,
                };
                self.send(name, push, &channel, registry);
            }
        }
        Envelope { reply, at, again }
    }

    fn end(&self, name: &Name, request: &Request, tombstone: bool) -> EndedEnvelope {
        let ended = self.step(name, |resource, now| {
            resource.end(now, &request.id, tombstone, |channel| self.listens(channel))
        });
        let Envelope { reply, again, .. } = self.told(name, ended);
        #[cfg(feature = "testing")]
        self.counters().ended(name, &request.id, reply);
        EndedEnvelope { reply, again }
    }
}

#[cfg(not(feature = "testing"))]
impl MemoryStore {
    fn is_disturbed(&self) -> bool {
        false
    }

    fn send(&self, _: &Name, push: Push, _: &Arc<str>, to: Arc<Registry>) {
        to.deliver(push);
    }
}

#[cfg(feature = "testing")]
impl MemoryStore {
    fn faults(&self) -> Option<FaultInjection> {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, weather: Option<FaultInjection>) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    fn is_disturbed(&self) -> bool {
        self.faults().is_some()
    }

    /// Nothing arrives over the link of that channel for that long; then everything does.
    pub(crate) fn stall(&self, channel: &Arc<str>, time: Duration) {
        self.stalls.stall(channel, time);
    }

    /// From now on the store's clock gains that many microseconds in a second.
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
        self.sights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, name: &Name, push: Push, channel: &Arc<str>, to: Arc<Registry>) {
        match self.faults() {
            None => to.deliver(push),
            Some(weather) => {
                self.counters().pushed(name, &push.request, push.fence);
                let way = self.stalls.of(channel);
                weather.push(&push, &way, move |push| to.deliver(push));
            }
        }
    }

    /// Ends the hold of that name, as at the end of its lease. Returns whether there was one.
    pub(crate) fn expire(&self, name: &Name) -> bool {
        let broken = self.step(name, |resource, now| {
            let fence = resource.inspect(now).holder.and_then(|holder| holder.fence);
            resource.break_hold(now, fence.unwrap_or_default(), true, |channel| {
                self.listens(channel)
            })
        });
        self.told(name, broken).reply == Broken::Freed
    }

    /// Goes silent, or answers again.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

fn wall_us() -> u64 {
    #[cfg(feature = "testing")]
    if crate::system::rng::seeded::is_seeded() {
        return 1_000_000_000_000_000;
    }
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(wall.unwrap_or_default().as_micros()).unwrap_or_default()
}

fn silent(limit: Duration) -> Failure {
    Failure::unknown(FailureKind::Silent, format!("no answer within {limit:?}"))
}
