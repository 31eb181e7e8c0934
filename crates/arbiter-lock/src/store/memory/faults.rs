//! A network between the memory store and its clients, for tests: under a seed its messages are
//! late, lost and doubled, and overtake each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{MemoryStore, silent};
use crate::store::{Failure, Push};
use crate::system::rng;

/// How bad the network is between a memory store and its clients: see
/// [`Testing::inject_faults`](crate::Testing::inject_faults). The default is a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultInjection {
    /// Of a thousand messages, how many never arrive.
    pub lost: u32,
    /// Of a thousand messages, how many arrive twice. A question that does is not answered.
    pub doubled: u32,
    /// How long every message takes at least: half a round trip.
    pub least: Duration,
    /// Of a thousand messages, how many are late; the others take at most a millisecond more than
    /// the least.
    pub late: u32,
    /// How late they are beyond the least, at most.
    pub latest: Duration,
}

/// Until when nothing arrives, by the channel of the link.
#[derive(Default)]
pub(super) struct Stalls(Arc<Mutex<HashMap<Arc<str>, Instant>>>);

/// A link that may be stalled.
#[derive(Clone)]
pub(super) struct Passage {
    stalls: Arc<Mutex<HashMap<Arc<str>, Instant>>>,
    channel: Arc<str>,
}

impl Stalls {
    pub(super) fn of(&self, channel: &Arc<str>) -> Passage {
        Passage {
            stalls: self.0.clone(),
            channel: channel.clone(),
        }
    }

    pub(super) fn stall(&self, channel: &Arc<str>, time: Duration) {
        let passage = self.of(channel);
        passage
            .stalls()
            .insert(channel.clone(), Instant::now() + time);
    }
}

impl Passage {
    fn stalls(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends when a message that took that long arrives.
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
    /// How long a message takes; none: it never arrives.
    fn passage(self) -> Option<Duration> {
        if happens(self.lost) {
            return None;
        }
        let most = match happens(self.late) {
            true => self.latest,
            false => Duration::from_millis(1),
        };
        Some(self.least + most.mul_f64(rng::draw()))
    }

    /// Carries a question to the store, and its answer back. The question is under way whatever
    /// becomes of who asked.
    pub(super) async fn carry<T: Send + 'static>(
        self,
        store: Arc<MemoryStore>,
        way: Passage,
        limit: Duration,
        step: impl Fn(&MemoryStore) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let (out, back) = (self.passage(), self.passage());
        let again = happens(self.doubled).then(|| self.passage()).flatten();
        tokio::spawn(async move {
            let Some(out) = out else {
                return store.counters().lost();
            };
            way.arrives(out).await;
            let reply = step(&store);
            if let Some(again) = again {
                way.arrives(again).await;
                step(&store);
                store.counters().doubled();
            } else if let Some(back) = back {
                way.arrives(back).await;
                if answer.send(reply).is_err() {
                    store.counters().unheard();
                }
            }
        });
        let answered = async {
            match answered.await {
                Ok(reply) => reply,
                Err(_) => std::future::pending().await,
            }
        };
        timeout(limit, answered).await.map_err(|_| silent(limit))
    }

    /// Carries a grant to its waiter.
    pub(super) fn push(
        self,
        push: &Push,
        way: &Passage,
        deliver: impl Fn(Push) + Clone + Send + 'static,
    ) {
        let copies = if happens(self.doubled) { 2 } else { 1 };
        for passage in (0..copies).filter_map(|_| self.passage()) {
            let (push, way, deliver) = (push.clone(), way.clone(), deliver.clone());
            tokio::spawn(async move {
                way.arrives(passage).await;
                deliver(push);
            });
        }
    }
}

fn happens(of_a_thousand: u32) -> bool {
    rng::draw::<u32>() % 1_000 < of_a_thousand
}
