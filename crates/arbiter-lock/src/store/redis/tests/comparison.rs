//! Random steps, foreign ones and losses among them, fed to the core and to the scripts: the
//! same replies, the same grants. `ARBITER_TEST_SEED` replays a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbiter_lock_core::{Acquired, Broken, Ended, Grant, Renewed, Request, Tried};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::Server;

use super::rig::{Rig, listens, request};

const STEPS: usize = 10_000;
const MOST_STEPS: usize = 300_000;
const LEAST: usize = 100;

/// How often each kind of transition was seen.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, usize>);

const KINDS: [&str; 34] = [
    "granted at once",
    "granted by a look",
    "own grant found",
    "queued",
    "place kept",
    "mark met",
    "queued, more to do",
    "acquire of an ended request",
    "behind a foreign holder",
    "behind an immortal holder",
    "try granted",
    "try busy",
    "try busy, more to do",
    "try of an ended request",
    "try hands over",
    "look hands over to another",
    "renewed",
    "stopping",
    "taken",
    "gone",
    "released",
    "released and handed over",
    "left",
    "end hands over for another",
    "end of nothing",
    "end, more to do",
    "broken",
    "broken and handed over",
    "asked to stop",
    "not held",
    "fence ahead of the clock",
    "passed over: deaf",
    "passed over: dead",
    "waiters listed",
];

impl Seen {
    fn count(&mut self, kind: &'static str, seen: bool) {
        assert!(KINDS.contains(&kind), "{kind}");
        *self.0.entry(kind).or_default() += usize::from(seen);
    }

    fn rarest(&self) -> (&'static str, usize) {
        let times = |kind| (kind, self.0.get(kind).copied().unwrap_or(0));
        KINDS
            .into_iter()
            .map(times)
            .min_by_key(|(_, times)| *times)
            .expect("there are kinds")
    }
}

struct Walk {
    rig: Rig,
    random: StdRng,
    seen: Seen,
    /// Requests that the steps are about, with the last ticket and fence that each was given.
    pool: Vec<(Request, Option<u64>, u64)>,
    next_id: usize,
}

impl Walk {
    fn fresh(&mut self) -> Request {
        self.next_id += 1;
        let channel = ["c0", "c1", "c0", "deaf"][self.random.random_range(0..4)];
        let lease = [100, 900, 2_000, 5_000, 30_000][self.random.random_range(0..5)];
        request(&format!("r{}", self.next_id), channel, lease)
    }

    fn renew_pool(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let request = self.fresh();
        self.pool[index] = (request, None, 0);
    }

    fn note_grants(&mut self, granted: &[Grant]) {
        for grant in granted {
            assert!(listens(&grant.channel));
            self.seen.count(
                "fence ahead of the clock",
                self.rig.now().as_micros() < grant.fence,
            );
            for (request, _, fence) in &mut self.pool {
                if request.id == grant.request {
                    *fence = grant.fence;
                }
            }
        }
    }

    /// A request of the pool; more often than not the one that holds.
    async fn holder_or_any(&mut self) -> usize {
        let held = self.rig.inspect().await.holder.map(|holder| holder.owner);
        let of_holder = self
            .pool
            .iter()
            .position(|(request, ..)| held.as_ref() == Some(&request.id));
        match of_holder.filter(|_| self.random.random_bool(0.6)) {
            Some(index) => index,
            None => self.random.random_range(0..self.pool.len()),
        }
    }

    async fn acquire(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let (request, known, _) = self.pool[index].clone();
        let ticket = match self.random.random_range(0..10) {
            0 => Some(self.rig.now().as_micros() - self.random.random_range(0..9_000_000)),
            1 | 2 => None,
            _ => known,
        };
        let before = self.rig.inspect().await;
        let was_mine = before
            .holder
            .is_some_and(|holder| holder.owner == request.id);
        let (reply, granted, again) = self.rig.acquire(&request, ticket).await;
        let seen = &mut self.seen;
        seen.count("look hands over to another", !granted.is_empty());
        seen.count("queued, more to do", again);
        match reply {
            Acquired::Granted { fence, life_ms } => {
                seen.count("own grant found", was_mine);
                seen.count("granted by a look", !was_mine && life_ms < request.lease_ms);
                seen.count("granted at once", !was_mine && life_ms == request.lease_ms);
                seen.count(
                    "fence ahead of the clock",
                    self.rig.now().as_micros() < fence,
                );
                self.pool[index].2 = fence;
            }
            Acquired::Queued {
                ticket: given,
                holder,
                ..
            } => {
                seen.count("queued", true);
                seen.count("place kept", ticket == Some(given));
                seen.count("mark met", ticket.is_some_and(|carried| carried < given));
                seen.count(
                    "behind a foreign holder",
                    holder.as_ref().is_some_and(|h| h.fence.is_none()),
                );
                seen.count(
                    "behind an immortal holder",
                    holder.is_some_and(|h| h.remaining_ms.is_none()),
                );
                self.pool[index].1 = Some(given);
            }
            Acquired::Ended => seen.count("acquire of an ended request", true),
            Acquired::Refused(_) => unreachable!("exclusive requests have no limit"),
        }
        self.note_grants(&granted);
    }

    async fn try_acquire(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let request = if self.random.random_bool(0.7) {
            self.fresh()
        } else {
            self.pool[index].0.clone()
        };
        let waiting = self.rig.inspect().await.waiting;
        let (reply, granted, again) = self.rig.try_acquire(&request).await;
        let seen = &mut self.seen;
        seen.count("try hands over", !granted.is_empty());
        match reply {
            Tried::Granted { fence, .. } => {
                seen.count("try granted", true);
                seen.count("passed over: dead", 0 < waiting);
                self.pool[index] = (request, None, fence);
            }
            Tried::Busy { .. } => {
                seen.count("try busy", true);
                seen.count("try busy, more to do", again);
            }
            Tried::Ended => seen.count("try of an ended request", true),
            Tried::Refused(_) => unreachable!("exclusive requests have no limit"),
        }
        self.note_grants(&granted);
    }

    async fn renew(&mut self) {
        let index = self.holder_or_any().await;
        let (request, _, fence) = self.pool[index].clone();
        let fence = if self.random.random_bool(0.9) {
            fence
        } else {
            fence + 1
        };
        let kind = match self.rig.renew(&request.id, fence, request.lease_ms).await {
            Renewed::Renewed { .. } => "renewed",
            Renewed::Stopping { .. } => "stopping",
            Renewed::NotYours { taken: true } => "taken",
            Renewed::NotYours { taken: false } => "gone",
        };
        self.seen.count(kind, true);
    }

    async fn end(&mut self) {
        let index = self.holder_or_any().await;
        let request = self.pool[index].0.clone();
        let tombstone = self.random.random_bool(0.2);
        let before = self.rig.inspect().await.waiting;
        let (reply, granted, again) = self.rig.end(&request, tombstone).await;
        let after = self.rig.inspect().await.waiting;
        let seen = &mut self.seen;
        seen.count("end, more to do", again);
        seen.count(
            "passed over: deaf",
            reply == Ended::Released && after + (granted.len() as u64) < before,
        );
        match reply {
            Ended::Released => {
                seen.count("released", true);
                seen.count("released and handed over", !granted.is_empty());
            }
            Ended::Left => seen.count("left", true),
            Ended::NotYours => seen.count("end of nothing", true),
        }
        seen.count(
            "end hands over for another",
            reply != Ended::Released && !granted.is_empty(),
        );
        self.note_grants(&granted);
    }

    async fn break_hold(&mut self) {
        let holder = self.rig.inspect().await.holder;
        let fence = match holder.and_then(|holder| holder.fence) {
            Some(fence) if self.random.random_bool(0.8) => fence,
            _ => 7,
        };
        let at_once = self.random.random_bool(0.5);
        let (reply, granted, _) = self.rig.break_hold(fence, at_once).await;
        match reply {
            Broken::Freed => {
                self.seen.count("broken", true);
                self.seen
                    .count("broken and handed over", !granted.is_empty());
            }
            Broken::Asked { .. } => self.seen.count("asked to stop", true),
            Broken::NotHeld => self.seen.count("not held", true),
        }
        self.note_grants(&granted);
    }

    /// More dead waiters than one call passes over, behind a holder.
    async fn crowd(&mut self) {
        for _ in 0..self.random.random_range(33..70) {
            let request = self.fresh();
            self.rig.acquire(&request, None).await;
        }
        self.rig.advance(2_604_000);
    }

    fn foreign(&mut self) {
        match self.random.random_range(0..10) {
            0..2 => {
                let life =
                    [Some(50), Some(3_000), Some(100_000), None][self.random.random_range(0..4)];
                self.rig.seize("Zm9yZWlnbg==", life);
            }
            2..6 => self.rig.vanish(),
            6 => self
                .rig
                .change_life(Some(self.random.random_range(1..10_000))),
            7 => self.rig.change_life(None),
            8 => self.rig.lose_queue(),
            _ => self.rig.lose_last_fence(),
        }
    }

    fn advance(&mut self) {
        let micros = match self.random.random_range(0..24) {
            0..4 => 0,
            4..8 => self.random.random_range(0..1_000),
            8..14 => self.random.random_range(0..200_000),
            14..18 => 1_000_000,
            18..20 => 2_000_001,
            20 => 2_500_001,
            21 => self.random.random_range(2_000_000..6_000_000),
            22 => 61_000_000 * i64::from(self.random.random_bool(0.3)),
            _ => -self.random.random_range(0..3_000_000),
        };
        if !self.rig.ends_lives_early {
            return self.rig.advance(micros);
        }
        // Only ever whole weeks of milliseconds, of which no life is a multiple: no step then
        // falls into the last millisecond of one.
        let now = self.rig.now().as_micros() as i64;
        let milli = now / 1_000 + micros.max(0) / 7_000 * 7;
        let then = milli * 1_000 + self.random.random_range(0..1_000);
        self.rig.advance((then - now).max(0));
    }

    async fn step(&mut self) {
        match self.random.random_range(0..1_000) {
            0..310 => self.acquire().await,
            310..440 => self.try_acquire().await,
            440..540 => self.renew().await,
            540..720 => self.end().await,
            720..760 => self.break_hold().await,
            760..780 => {
                let status = self.rig.inspect().await;
                self.seen
                    .count("waiters listed", !status.waiters.is_empty());
            }
            780..810 => self.renew_pool(),
            810..850 => self.foreign(),
            850..860 => self.crowd().await,
            _ => self.advance(),
        }
    }
}

impl Walk {
    async fn new(server: testkit::ServerBuilder, seed: u64) -> Self {
        let mut walk = Self {
            rig: Rig::new(server).await,
            random: StdRng::seed_from_u64(seed),
            seen: Seen::default(),
            pool: Vec::new(),
            next_id: 0,
        };
        for _ in 0..7 {
            let request = walk.fresh();
            walk.pool.push((request, None, 0));
        }
        walk
    }

    async fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step().await;
        }
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ARBITER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::random::<u32>().into());
    println!("ARBITER_TEST_SEED={seed}");
    seed
}

#[tokio::test]
async fn the_scripts_do_what_the_core_does_in_every_kind_of_transition() {
    let mut walk = Walk::new(Server::builder(), seed()).await;
    let mut steps = 0;
    while steps < STEPS || walk.seen.rarest().1 < LEAST {
        walk.steps(STEPS).await;
        steps += STEPS;
        assert!(
            steps < MOST_STEPS,
            "{:?}: {:#?}",
            walk.seen.rarest(),
            walk.seen.0
        );
    }
    println!("{steps} steps: {:#?}", walk.seen.0);
}

#[tokio::test]
async fn the_scripts_do_what_the_core_does_on_every_server_there_is() {
    let seed = seed();
    for flavour in testkit::flavours() {
        println!("{}", flavour.name);
        Walk::new(Server::builder().binary(&flavour.binary), seed)
            .await
            .steps(3_000)
            .await;
    }
}

#[tokio::test]
async fn labels_and_owners_of_any_kind_come_back_as_they_were() {
    let mut rig = Rig::new(Server::builder()).await;
    let holder = request("h", "c0", 30_000);
    rig.acquire(&holder, None).await;
    for (n, label) in ["", " ", "a  b\nc", "ünï %s %d \\", "- - - -"]
        .into_iter()
        .enumerate()
    {
        let waiter = Request {
            label: Arc::from(label),
            ..request(&format!("w{n}"), "c0", 500)
        };
        rig.acquire(&waiter, None).await;
    }
    let status = rig.inspect().await;
    assert_eq!(&*status.waiters[2].label, "a  b\nc");
    rig.end(&holder, false).await;
    assert_eq!(&*rig.inspect().await.holder.unwrap().label, "");
}
