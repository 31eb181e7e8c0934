//! Time that passes within a script: the server is slow, or stopped in its middle.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Broken, Contender, Downgraded, Ended, Limit, Mode, Renewal, Renewed, Request,
    Resized, Tried,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::{Server, ServerBuilder};

use super::ask::{self, contender};
use super::comparison::seed;
use super::rig::Rig;
use crate::store::Envelope;

/// A valid hold of a client, in microseconds of the server.
#[derive(Debug)]
struct Believed {
    id: Arc<str>,
    excludes: bool,
    fence: u64,
    until: u64,
}

/// Clients of a slow server, and their valid holds.
struct Slow {
    rig: Rig,
    random: StdRng,
    requests: Vec<Contender>,
    beliefs: Vec<Believed>,
}

impl Slow {
    async fn new(server: ServerBuilder, seed: u64, step: Duration) -> Self {
        let rig = Rig::new(server).await;
        rig.slow_down(step);
        let mut slow = Self {
            rig,
            random: StdRng::seed_from_u64(seed),
            requests: Vec::new(),
            beliefs: Vec::new(),
        };
        (0..5).for_each(|_| slow.come());
        slow
    }

    fn come(&mut self) {
        let id = format!("r{}", self.random.random::<u64>());
        let lease_ms = [100, 150, 400, 5_000][self.random.random_range(0..4)];
        let weight = NonZeroU32::MIN.saturating_add(self.random.random_range(0..2));
        let limit = Limit::Unlimited;
        let mode = match self.random.random_range(0..3) {
            0 => Mode::Exclusive,
            _ => Mode::Shared { weight, limit },
        };
        self.requests.push(Contender {
            mode,
            ..contender(&id, "c1", lease_ms)
        });
    }

    fn now(&self) -> u64 {
        self.rig.server.time().unsigned_abs()
    }

    fn granted(&mut self, id: &Arc<str>, fence: u64, at: u64, ttl_ms: u64) {
        let Some(request) = self.requests.iter().find(|request| request.id == *id) else {
            return; // it was ended meanwhile
        };
        // A downgraded writer finds that it shares.
        let known = self.beliefs.iter().find(|belief| belief.fence == fence);
        let excludes = known.map_or(request.mode == Mode::Exclusive, |known| known.excludes);
        let others = self.beliefs.iter().filter(|belief| belief.id != *id);
        for other in others.filter(|belief| excludes || belief.excludes) {
            assert!(
                other.until <= at,
                "{id} at {at} with {fence}, and {other:?}"
            );
        }
        let until = at + ttl_ms * 1_000;
        match self.beliefs.iter_mut().find(|belief| belief.id == *id) {
            Some(belief) if belief.fence == fence => belief.until = belief.until.max(until),
            Some(belief) => (belief.fence, belief.until) = (fence, until),
            None => self.beliefs.push(Believed {
                id: id.clone(),
                excludes,
                fence,
                until,
            }),
        }
    }

    /// Ends the hold of a client, which sends a request with another id.
    fn retire(&mut self, id: &Arc<str>) {
        self.beliefs.retain(|belief| belief.id != *id);
        self.requests.retain(|request| request.id != *id);
        self.come();
    }

    fn renewal(&self, held: usize, contender: &Contender) -> Renewal {
        let fence = self.beliefs[held].fence;
        ask::renewal(&contender.id, fence, contender.lease_ms)
    }

    async fn step(&mut self) {
        let at = self.random.random_range(0..self.requests.len());
        let request = self.requests[at].clone();
        let held = self.beliefs.iter().position(|b| b.id == request.id);
        match (self.random.random_range(0..8), held) {
            (0, _) => {
                self.retire(&request.id);
                let _: Ended = self.rig.reply(&ask::end(&request, true)).await.reply;
            }
            (1, Some(held)) => {
                let sent = self.now();
                let renew = Request::Renew(self.renewal(held, &request));
                if let Renewed::Renewed { ttl_ms } = self.rig.reply(&renew).await.reply {
                    let until = &mut self.beliefs[held].until;
                    *until = (*until).max(sent + ttl_ms * 1_000);
                }
            }
            (2, Some(held)) if self.beliefs[held].excludes => {
                self.beliefs[held].excludes = false;
                let downgrade = Request::Downgrade(self.renewal(held, &request));
                let reply = self.rig.reply(&downgrade).await.reply;
                if !matches!(reply, Downgraded::Downgraded { .. }) {
                    self.retire(&request.id);
                }
            }
            (3, Some(held)) => {
                let (fence, at_once) = (self.beliefs[held].fence, self.random.random_bool(0.7));
                self.retire(&request.id);
                let end = Request::Break { fence, at_once };
                let _: Broken = self.rig.reply(&end).await.reply;
            }
            (4, _) => {
                let limit = NonZeroU32::MIN.saturating_add(self.random.random_range(0..4));
                let _: Resized = self.rig.reply(&Request::Resize(limit)).await.reply;
            }
            (5, _) => {
                let Envelope { reply, at, .. } = self.rig.reply(&ask::try_acquire(&request)).await;
                if let Tried::Granted { fence, ttl_ms } = reply {
                    self.granted(&request.id, fence, at.as_micros(), ttl_ms);
                }
            }
            _ => {
                let acquire = ask::acquire(&request, None);
                let Envelope { reply, at, .. } = self.rig.reply(&acquire).await;
                if let Acquired::Granted { fence, ttl_ms } = reply {
                    self.granted(&request.id, fence, at.as_micros(), ttl_ms);
                }
            }
        }
        for push in self.rig.take_pushed() {
            self.granted(&push.request, push.fence, push.at.as_micros(), push.ttl_ms);
        }
        for key in self.rig.server.keys() {
            let ttl = self.rig.server.call(&["PTTL", &key]).int().unwrap();
            assert_ne!(ttl, -1, "{key} has no end: {:?}", self.rig.dump());
        }
    }
}

#[tokio::test]
async fn slow_script_keeps_ttls_and_grants_nothing_early() {
    let seed = seed();
    for flavour in testkit::flavours() {
        for micros in [200, 2_000, 15_000, 1_000_000] {
            println!("{} {micros} us a look", flavour.name);
            let server = Server::builder().binary(&flavour.binary);
            let mut slow = Slow::new(server, seed, Duration::from_micros(micros)).await;
            for _ in 0..400 {
                slow.step().await;
            }
        }
    }
}
