//! A network between the memory store and its clients, for tests. Messages are late, lost,
//! duplicated and reordered, as a seed decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{MemoryStore, silent};
use crate::store::{Failure, Push};
use crate::system::rng;

/// The faults of the network between a memory store and its clients: see
/// [`Testing::inject_faults`](crate::Testing::inject_faults). By default there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultInjection {
    /// How many of a thousand messages never arrive.
    pub lost: u32,
    /// How many of a thousand messages arrive twice. A request that arrives twice gets no reply.
    pub doubled: u32,
    /// The shortest time that a message takes: half a round trip.
    pub least: Duration,
    /// How many of a thousand messages are late. The others take at most a millisecond more than
    /// `least`.
    pub late: u32,
    /// How long a late message takes beyond `least`, at most.
    pub latest: Duration,
}

/// When each stalled link recovers, by its channel.
#[derive(Default)]
pub(super) struct Stalls(Arc<Mutex<HashMap<Arc<str>, Instant>>>);

/// The route of a link, which may be stalled.
#[derive(Clone)]
pub(super) struct Route {
    stalls: Arc<Mutex<HashMap<Arc<str>, Instant>>>,
    channel: Arc<str>,
}

impl Stalls {
    pub(super) fn of(&self, channel: &Arc<str>) -> Route {
        Route {
            stalls: self.0.clone(),
            channel: channel.clone(),
        }
    }

    pub(super) fn stall(&self, channel: &Arc<str>, time: Duration) {
        let route = self.of(channel);
        route
            .stalls()
            .insert(channel.clone(), Instant::now() + time);
    }
}

impl Route {
    fn stalls(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a message arrives that takes `after`.
    async fn arrives(&self, after: Duration) {
        sleep(after).await;
        loop {
            let stalled = self.stalls().get(&self.channel).copied();
            match stalled.filter(|end| Instant::now() < *end) {
                Some(end) => sleep_until(end).await,
                None => return,
            }
        }
    }
}

impl FaultInjection {
    /// Draws how long a message takes; none if it never arrives.
    fn delay(self) -> Option<Duration> {
        if happens(self.lost) {
            return None;
        }
        let most = match happens(self.late) {
            true => self.latest,
            false => Duration::from_millis(1),
        };
        Some(self.least + most.mul_f64(rng::draw()))
    }

    /// Carries a request to the store, and the reply back. The request continues if its caller is
    /// dropped.
    pub(super) async fn carry<T: Send + 'static>(
        self,
        store: Arc<MemoryStore>,
        route: Route,
        limit: Duration,
        step: impl Fn(&MemoryStore) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, receiver) = oneshot::channel();
        let (out, back) = (self.delay(), self.delay());
        let again = happens(self.doubled).then(|| self.delay()).flatten();
        tokio::spawn(async move {
            let Some(out) = out else {
                return store.counters().lost();
            };
            route.arrives(out).await;
            let reply = step(&store);
            if let Some(again) = again {
                route.arrives(again).await;
                step(&store);
                store.counters().doubled();
            } else if let Some(back) = back {
                route.arrives(back).await;
                if sender.send(reply).is_err() {
                    store.counters().undelivered();
                }
            }
        });
        let reply = async {
            match receiver.await {
                Ok(reply) => reply,
                Err(_) => std::future::pending().await,
            }
        };
        timeout(limit, reply).await.map_err(|_| silent(limit))
    }

    /// Carries a grant to its waiter.
    pub(super) fn push(
        self,
        push: &Push,
        route: &Route,
        deliver: impl Fn(Push) + Clone + Send + 'static,
    ) {
        let copies = if happens(self.doubled) { 2 } else { 1 };
        for delay in (0..copies).filter_map(|_| self.delay()) {
            let (push, route, deliver) = (push.clone(), route.clone(), deliver.clone());
            tokio::spawn(async move {
                route.arrives(delay).await;
                deliver(push);
            });
        }
    }
}

fn happens(of_a_thousand: u32) -> bool {
    rng::draw::<u32>() % 1_000 < of_a_thousand
}
