//! The memory store: the core behind a mutex, on the runtime's clock.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arbiter_lock_core::{
    Acquired, Answer, Broken, Downgraded, Grant, Moment, Name, Renewed, Request, Resized, Resource,
    Run, Status, Tried, Written,
};

use tokio::sync::watch;

use super::{Failure, FailureKind, Order, Push, Registry, Renewal, Said, SaidEnded, Write};
use crate::clock::Clock;

/// All names of one memory store.
pub(crate) struct World {
    clock: Clock,
    /// The wall time of the clock's start: fences are made of it.
    start_us: u64,
    names: Mutex<Names>,
    listeners: Mutex<HashMap<Arc<str>, Weak<Registry>>>,
    /// Whether it answers nothing and does nothing, for tests.
    silent: watch::Sender<bool>,
}

#[derive(Default)]
struct Names {
    resources: HashMap<Name, Resource>,
    /// Steps since what is forgotten was swept out.
    steps: usize,
}

const SWEEP_EVERY: usize = 1_024;
/// What a step waits for an answer at the most, as over a network.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            clock: Clock::runtime(),
            start_us: u64::try_from(wall.as_micros()).unwrap_or_default(),
            names: Mutex::default(),
            listeners: Mutex::default(),
            silent: watch::Sender::new(false),
        }
    }

    /// The store of that name, which lives as long as somebody uses it.
    pub(crate) fn shared(name: &str) -> Arc<Self> {
        static WORLDS: OnceLock<Mutex<HashMap<String, Weak<World>>>> = OnceLock::new();
        let mut worlds = WORLDS
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

    pub(super) fn way(self: &Arc<Self>, channel: Arc<str>, registry: &Arc<Registry>) -> Way {
        self.listeners()
            .insert(channel.clone(), Arc::downgrade(registry));
        Way {
            world: self.clone(),
            channel,
        }
    }

    /// Ends a request at once, unless the store is silent.
    pub(super) fn end_at_once(&self, order: &Order) -> bool {
        if self.is_silent() {
            return false;
        }
        while self.end(&order.name, &order.request, order.tombstone).again {}
        true
    }

    fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    fn now(&self) -> Moment {
        let passed = u64::try_from(self.clock.now().as_micros()).unwrap_or_default();
        Moment::from_micros(self.start_us.saturating_add(passed))
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
    fn step<T>(&self, name: &Name, step: impl FnOnce(&mut Resource, Moment) -> T) -> Said<T> {
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
        Said {
            reply: step(resource, at),
            at,
            again: false,
        }
    }

    /// Tells everybody whom a step has granted.
    fn told<T>(&self, said: Said<Answer<T>>) -> Said<T> {
        let Said {
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
                registry.deliver(Push {
                    request,
                    fence,
                    life_ms,
                    at,
                });
            }
        }
        Said { reply, at, again }
    }

    fn end(&self, name: &Name, request: &Request, tombstone: bool) -> SaidEnded {
        let ended = self.step(name, |resource, now| {
            resource.end(now, &request.id, tombstone, |channel| self.listens(channel))
        });
        let Said { reply, again, .. } = self.told(ended);
        SaidEnded { reply, again }
    }
}

#[cfg(feature = "testing")]
impl World {
    /// The store ends what is held under that name, as at the end of its lease.
    pub(crate) fn lapse(&self, name: &Name) {
        let broken = self.step(name, |resource, now| {
            let fence = resource.inspect(now).holder.and_then(|holder| holder.fence);
            resource.break_hold(now, fence.unwrap_or_default(), true, |channel| {
                self.listens(channel)
            })
        });
        self.told(broken);
    }

    /// Goes silent, or answers again.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

/// One runtime's way to a memory store.
pub(super) struct Way {
    world: Arc<World>,
    channel: Arc<str>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.world.listeners().remove(&self.channel);
    }
}

impl Way {
    /// The way there and back: each is a point at which the caller may go away.
    async fn carry<T>(
        &self,
        limit: Duration,
        step: impl FnOnce(&World) -> T,
    ) -> Result<T, Failure> {
        let limit = limit.min(COMMAND_TIMEOUT);
        tokio::task::yield_now().await;
        if self.world.is_silent() {
            let mut silent = self.world.silent.subscribe();
            if tokio::time::timeout(limit, silent.wait_for(|silent| !silent))
                .await
                .is_err()
            {
                return Err(Failure::unknown(
                    FailureKind::Silent,
                    format!("no answer within {limit:?}"),
                ));
            }
        }
        let reply = step(&self.world);
        tokio::task::yield_now().await;
        Ok(reply)
    }

    pub(super) async fn acquire(
        &self,
        name: &Name,
        request: &Request,
        ticket: Option<u64>,
        limit: Duration,
    ) -> Result<Said<Acquired>, Failure> {
        self.carry(limit, |world| {
            world.told(world.step(name, |resource, now| {
                resource.acquire(now, request, ticket, |channel| world.listens(channel))
            }))
        })
        .await
    }

    pub(super) async fn try_acquire(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Said<Tried>, Failure> {
        self.carry(limit, |world| {
            world.told(world.step(name, |resource, now| {
                resource.try_acquire(now, request, |channel| world.listens(channel))
            }))
        })
        .await
    }

    pub(super) async fn renew(
        &self,
        renewals: &[Renewal<'_>],
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        self.carry(limit, |world| {
            let renew = |r: &Renewal<'_>| {
                Ok(world
                    .step(r.name, |resource, now| {
                        resource.renew(now, r.owner, r.fence, r.lease_ms)
                    })
                    .reply)
            };
            renewals.iter().map(renew).collect()
        })
        .await
    }

    pub(super) async fn end(
        &self,
        name: &Name,
        request: &Request,
        tombstone: bool,
        limit: Duration,
    ) -> Result<SaidEnded, Failure> {
        self.carry(limit, |world| world.end(name, request, tombstone))
            .await
    }

    pub(super) async fn break_hold(
        &self,
        name: &Name,
        fence: u64,
        at_once: bool,
        limit: Duration,
    ) -> Result<Said<Broken>, Failure> {
        self.carry(limit, |world| {
            world.told(world.step(name, |resource, now| {
                resource.break_hold(now, fence, at_once, |channel| world.listens(channel))
            }))
        })
        .await
    }

    pub(super) async fn downgrade(
        &self,
        renewal: &Renewal<'_>,
        limit: Duration,
    ) -> Result<Said<Downgraded>, Failure> {
        let Renewal {
            name,
            owner,
            fence,
            lease_ms,
        } = *renewal;
        self.carry(limit, |world| {
            world.told(world.step(name, |resource, now| {
                resource.downgrade(now, owner, fence, lease_ms, |channel| {
                    world.listens(channel)
                })
            }))
        })
        .await
    }

    pub(super) async fn resize(
        &self,
        name: &Name,
        permits: NonZeroU32,
        limit: Duration,
    ) -> Result<Said<Resized>, Failure> {
        self.carry(limit, |world| {
            world.told(world.step(name, |resource, now| {
                resource.resize(now, permits, |channel| world.listens(channel))
            }))
        })
        .await
    }

    pub(super) async fn write(
        &self,
        name: &Name,
        write: &Write,
        limit: Duration,
    ) -> Result<Written, Failure> {
        self.carry(limit, |world| {
            world
                .step(name, |resource, now| write.apply(resource, now))
                .reply
        })
        .await
    }

    pub(super) async fn last_run(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Said<Option<Run>>, Failure> {
        self.carry(limit, |world| {
            world.step(name, |resource, now| resource.last_run(now))
        })
        .await
    }

    pub(super) async fn inspect(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Said<Status>, Failure> {
        self.carry(limit, |world| {
            world.step(name, |resource, now| resource.inspect(now))
        })
        .await
    }
}
