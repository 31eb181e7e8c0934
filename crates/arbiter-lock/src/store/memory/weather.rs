//! A network between the memory store and its clients, for tests: under a seed its messages are
//! late, lost and doubled, and overtake each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::{World, silent};
use crate::chance;
use crate::store::{Failure, Push};

/// How bad the network is between a memory store and its clients: see
/// [`Testing::disturb`](crate::Testing::disturb). The default is a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand messages, how many never arrive.
    pub lost: u32,
    /// Of a thousand messages, how many arrive twice. A question that does is not answered.
    pub doubled: u32,
    /// Of a thousand messages, how many are late; the others take a millisecond at the most.
    pub late: u32,
    /// How late they are at the most.
    pub latest: Duration,
}

impl Weather {
    /// How long a message takes; none: it never arrives.
    fn passage(self) -> Option<Duration> {
        if happens(self.lost) {
            return None;
        }
        let most = match happens(self.late) {
            true => self.latest,
            false => Duration::from_millis(1),
        };
        Some(most.mul_f64(chance::draw()))
    }

    /// Carries a question to the store, and its answer back. The question is under way whatever
    /// becomes of who asked.
    pub(super) async fn carry<T: Send + 'static>(
        self,
        world: Arc<World>,
        limit: Duration,
        step: impl Fn(&World) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let (out, back) = (self.passage(), self.passage());
        let again = happens(self.doubled).then(|| self.passage()).flatten();
        tokio::spawn(async move {
            let Some(out) = out else {
                return world.sights().lost();
            };
            sleep(out).await;
            let reply = step(&world);
            if let Some(again) = again {
                sleep(again).await;
                step(&world);
                world.sights().doubled();
            } else if let Some(back) = back {
                sleep(back).await;
                if answer.send(reply).is_err() {
                    world.sights().unheard();
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
    pub(super) fn push(self, push: &Push, deliver: impl Fn(Push) + Clone + Send + 'static) {
        let copies = if happens(self.doubled) { 2 } else { 1 };
        for passage in (0..copies).filter_map(|_| self.passage()) {
            let (push, deliver) = (push.clone(), deliver.clone());
            tokio::spawn(async move {
                sleep(passage).await;
                deliver(push);
            });
        }
    }
}

fn happens(of_a_thousand: u32) -> bool {
    chance::draw::<u32>() % 1_000 < of_a_thousand
}
