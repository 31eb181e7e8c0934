//! Random steps, foreign ones and losses among them, fed to the core and to the scripts: the
//! same replies, the same grants. `ARBITER_TEST_SEED` replays a run.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, Ended, Grant, Limit, Mode, Refusal, Renewed, Request, Resized,
    Status, Tried, Written,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::Server;

use super::rig::{Rig, listens, request};
use crate::store::Write;

const STEPS: usize = 10_000;
const MOST_STEPS: usize = 150_000;
const LEAST: usize = 25;

/// How often each kind of transition was seen.
#[derive(Default)]
struct Seen(BTreeMap<&'static str, usize>);

const KINDS: [&str; 58] = [
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
    "beside others",
    "several granted at once",
    "refused: above the limit",
    "refused: another limit",
    "refused after the grant of another",
    "in past the limit of the dead",
    "follows the limit in force",
    "behind those who share",
    "own shared hold found",
    "shared hold renewed",
    "shared hold stopping",
    "shared hold released, others stay",
    "shared hold broken, others stay",
    "shared hold lapsed, others stay",
    "downgraded",
    "downgraded and handed over",
    "downgraded again",
    "downgrade refused",
    "resized",
    "resized and handed over",
    "nothing to resize",
    "proclaimed",
    "run begun",
    "run ended",
];

/// How the requests of a while want to hold.
#[derive(Clone, Copy)]
enum Fashion {
    Alone,
    Readers,
    Permits,
}

/// The hold of that owner, alone or shared.
fn holds(status: &Status, owner: &str) -> bool {
    let sharers = status.sharing.iter().flat_map(|s| &s.holders);
    let mut all = sharers.map(|s| &s.holder).chain(&status.holder);
    all.any(|holder| &*holder.owner == owner)
}

fn sharers(status: &Status) -> u64 {
    status.sharing.as_ref().map_or(0, |sharing| sharing.count)
}

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
    fashion: Fashion,
}

impl Walk {
    fn fresh(&mut self) -> Request {
        self.next_id += 1;
        let channel = ["c0", "c1", "c0", "deaf"][self.random.random_range(0..4)];
        let lease = [100, 900, 2_000, 5_000, 30_000][self.random.random_range(0..5)];
        let mode = self.mode();
        Request {
            mode,
            ..request(&format!("r{}", self.next_id), channel, lease)
        }
    }

    fn mode(&mut self) -> Mode {
        let random = &mut self.random;
        let mut number = |most: u32| NonZeroU32::MIN.saturating_add(random.random_range(0..most));
        let reader = Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Unlimited,
        };
        match (self.fashion, number(10).get()) {
            (Fashion::Alone, 1..=9) | (_, 1 | 2) => Mode::Exclusive,
            (Fashion::Readers, 3..=9) | (_, 3) => reader,
            (_, 4) => Mode::Shared {
                weight: NonZeroU32::MIN,
                limit: Limit::Stated(number(5)),
            },
            (_, 5 | 6) => Mode::Shared {
                weight: number(2),
                limit: Limit::Followed(number(5)),
            },
            _ => Mode::Shared {
                weight: number(4),
                limit: Limit::Stated(NonZeroU32::MIN.saturating_add(3)),
            },
        }
    }

    fn renew_pool(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let request = self.fresh();
        self.pool[index] = (request, None, 0);
        if self.random.random_bool(0.02) {
            let fashions = [Fashion::Alone, Fashion::Readers, Fashion::Permits];
            self.fashion = fashions[self.random.random_range(0..3)];
        }
    }

    fn note_grants(&mut self, granted: &[Grant]) {
        self.seen
            .count("several granted at once", 1 < granted.len());
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
        let status = self.rig.inspect().await;
        let of_holder = self
            .pool
            .iter()
            .position(|(request, ..)| holds(&status, &request.id));
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
        let was_mine = holds(&before, &request.id);
        let (reply, granted, again) = self.rig.acquire(&request, ticket).await;
        let seen = &mut self.seen;
        seen.count("look hands over to another", !granted.is_empty());
        seen.count("queued, more to do", again);
        match reply {
            Acquired::Granted { fence, life_ms } => {
                seen.count("own grant found", was_mine);
                seen.count(
                    "own shared hold found",
                    was_mine && request.mode != Mode::Exclusive,
                );
                seen.count("beside others", !was_mine && 0 < sharers(&before));
                let in_force = before.sharing.and_then(|sharing| sharing.limit);
                if let Mode::Shared {
                    limit: Limit::Followed(limit),
                    ..
                } = request.mode
                {
                    let follows = in_force.is_some_and(|in_force| in_force != limit.get());
                    seen.count("follows the limit in force", follows);
                }
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
                seen.count("behind those who share", 0 < sharers(&before));
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
            Acquired::Refused(refusal) => self.refused(refusal),
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
            Tried::Refused(refusal) => self.refused(refusal),
        }
        self.note_grants(&granted);
    }

    async fn renew(&mut self) {
        let index = self.holder_or_any().await;
        let fence = self.pool[index].2;
        let fence = if self.random.random_bool(0.9) {
            fence
        } else {
            fence + 1
        };
        self.renew_as(index, fence).await;
    }

    async fn renew_as(&mut self, index: usize, fence: u64) {
        let request = self.pool[index].0.clone();
        let is_shared = 0 < sharers(&self.rig.inspect().await);
        let kind = match self.rig.renew(&request.id, fence, request.lease_ms).await {
            Renewed::Renewed { .. } if is_shared => "shared hold renewed",
            Renewed::Stopping { .. } if is_shared => "shared hold stopping",
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
        let status = self.rig.inspect().await;
        let before = status.waiting;
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
                seen.count("shared hold released, others stay", 1 < sharers(&status));
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
        let status = self.rig.inspect().await;
        let listed = status.sharing.as_ref().map_or(&[][..], |s| &s.holders);
        let of_sharer = match listed.len() {
            0 => None,
            n => listed[self.random.random_range(0..n)].holder.fence,
        };
        let of_holder = status.holder.as_ref().and_then(|holder| holder.fence);
        let fence = match of_sharer.or(of_holder) {
            Some(fence) if self.random.random_bool(0.8) => fence,
            _ => 7,
        };
        let at_once = self.random.random_bool(0.5);
        let (reply, granted, _) = self.rig.break_hold(fence, at_once).await;
        match reply {
            Broken::Freed => {
                self.seen.count("broken", true);
                let stay = 1 < sharers(&status);
                self.seen.count("shared hold broken, others stay", stay);
                self.seen
                    .count("broken and handed over", !granted.is_empty());
            }
            Broken::Asked { .. } => {
                self.seen.count("asked to stop", true);
                let asked = self.pool.iter().position(|(.., known)| *known == fence);
                if let Some(index) = asked {
                    self.renew_as(index, fence).await;
                }
            }
            Broken::NotHeld => self.seen.count("not held", true),
        }
        self.note_grants(&granted);
    }

    fn refused(&mut self, refusal: Refusal) {
        let kind = match refusal {
            Refusal::AboveLimit { .. } => "refused: above the limit",
            Refusal::LimitDiffers { .. } => "refused: another limit",
        };
        self.seen.count(kind, true);
    }

    async fn downgrade(&mut self) {
        let index = self.holder_or_any().await;
        self.downgrade_of(index).await;
    }

    async fn downgrade_of(&mut self, index: usize) {
        let (request, _, fence) = self.pool[index].clone();
        let was_shared = 0 < sharers(&self.rig.inspect().await);
        let lease = request.lease_ms;
        let (reply, granted, _) = self.rig.downgrade(&request.id, fence, lease).await;
        let seen = &mut self.seen;
        match reply {
            Downgraded::Downgraded { .. } if was_shared => seen.count("downgraded again", true),
            Downgraded::Downgraded { .. } => {
                seen.count("downgraded", true);
                seen.count("downgraded and handed over", !granted.is_empty());
            }
            Downgraded::Refused(_) => seen.count("downgrade refused", true),
            Downgraded::NotYours { .. } => {}
        }
        self.note_grants(&granted);
    }

    async fn resize(&mut self) {
        let limit = NonZeroU32::MIN.saturating_add(self.random.random_range(0..6));
        let (reply, granted, _) = self.rig.resize(limit).await;
        match reply {
            Resized::Resized { .. } => {
                self.seen.count("resized", true);
                self.seen
                    .count("resized and handed over", !granted.is_empty());
            }
            Resized::NotHeld => self.seen.count("nothing to resize", true),
        }
        self.note_grants(&granted);
    }

    /// Nobody holds or waits.
    fn clear(&mut self) {
        self.rig.vanish();
        self.rig.lose_queue();
    }

    fn one_that_hears(&mut self, mode: Mode) -> Request {
        self.next_id += 1;
        Request {
            mode,
            ..request(&format!("r{}", self.next_id), "c1", 5_000)
        }
    }

    /// Permits, held and waited for, and a limit that is raised or lowered.
    async fn permits(&mut self) {
        self.clear();
        for _ in 0..self.random.random_range(2..5) {
            let weight = NonZeroU32::MIN.saturating_add(self.random.random_range(0..4));
            let limit = Limit::Stated(NonZeroU32::MIN.saturating_add(3));
            let request = self.one_that_hears(Mode::Shared { weight, limit });
            self.acquire_as(request).await;
        }
        self.resize().await;
    }

    /// Those who wait under a limit behind a writer that is no more, dead or alive, and one who
    /// comes with another.
    async fn orphans(&mut self) {
        self.clear();
        let writer = self.one_that_hears(Mode::Exclusive);
        self.acquire_as(writer).await;
        let of = |limit: u32| Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Stated(NonZeroU32::MIN.saturating_add(limit)),
        };
        let count = [1, 2, 40][self.random.random_range(0..3)];
        for _ in 0..count {
            let limit = self.random.random_range(0..2);
            let orphan = self.one_that_hears(of(limit));
            self.rig.acquire(&orphan, None).await;
        }
        let dies = self.random.random_bool(0.5);
        self.rig.advance(if dies { 2_604_000 } else { 7_000 });
        self.rig.vanish();
        let late = self.one_that_hears(of(1));
        let granted = if self.random.random_bool(0.5) {
            let (reply, granted, _) = self.rig.acquire(&late, None).await;
            let refused = matches!(reply, Acquired::Refused(_)) && !granted.is_empty();
            self.seen
                .count("refused after the grant of another", refused);
            let is_in = matches!(reply, Acquired::Granted { .. });
            self.seen
                .count("in past the limit of the dead", is_in && dies);
            granted
        } else {
            let (reply, granted, _) = self.rig.try_acquire(&late).await;
            let refused = matches!(reply, Tried::Refused(_)) && !granted.is_empty();
            self.seen
                .count("refused after the grant of another", refused);
            let is_in = matches!(reply, Tried::Granted { .. });
            self.seen
                .count("in past the limit of the dead", is_in && dies);
            granted
        };
        self.note_grants(&granted);
    }

    /// A writer, others behind it, and what becomes of the writer.
    async fn writer(&mut self) {
        self.clear();
        let request = self.one_that_hears(Mode::Exclusive);
        let writer = self.acquire_as(request).await;
        for _ in 0..self.random.random_range(0..4) {
            let mode = self.mode();
            let request = self.one_that_hears(mode);
            self.rig.acquire(&request, None).await;
        }
        if self.random.random_bool(0.3) {
            let fence = self.pool[writer].2;
            self.rig.break_hold(fence, false).await;
            self.renew_as(writer, fence).await;
        }
        match self.random.random_range(0..3) {
            0 => self.write_as(writer).await,
            _ => self.downgrade_of(writer).await,
        }
    }

    /// A fresh request in the pool, granted or waiting.
    async fn acquire_as(&mut self, request: Request) -> usize {
        let (reply, ..) = self.rig.acquire(&request, None).await;
        let fence = match reply {
            Acquired::Granted { fence, .. } => fence,
            _ => 0,
        };
        let index = self.random.random_range(0..self.pool.len());
        self.pool[index] = (request, None, fence);
        index
    }

    /// What a holder writes.
    async fn write(&mut self) {
        let index = self.holder_or_any().await;
        self.write_as(index).await;
    }

    async fn write_as(&mut self, index: usize) {
        let (request, _, fence) = self.pool[index].clone();
        let keep_ms = [900, 5_000, 100_000][self.random.random_range(0..3)];
        let owner = request.id;
        let (kind, write) = match self.random.random_range(0..4) {
            0 => {
                let value = "a b".into();
                let write = Write::Proclaim {
                    owner,
                    fence,
                    value,
                };
                ("proclaimed", write)
            }
            1 | 2 => {
                let write = Write::BeginRun {
                    owner,
                    fence,
                    keep_ms,
                };
                ("run begun", write)
            }
            _ => {
                let write = Write::FinishRun {
                    fence: self.rig.last_run().await.map_or(fence, |run| run.fence),
                    outcome: "0".into(),
                    keep_ms,
                };
                ("run ended", write)
            }
        };
        let written = self.rig.write(&write).await;
        self.seen.count(kind, written == Written::Written);
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
        match self.random.random_range(0..11) {
            0..2 => {
                let life =
                    [Some(50), Some(3_000), Some(100_000), None][self.random.random_range(0..4)];
                let owner = ["Zm9yZWlnbg==", "shared"][self.random.random_range(0..2)];
                self.rig.seize(owner, life);
            }
            2..6 => self.rig.vanish(),
            6 => self
                .rig
                .change_life(Some(self.random.random_range(1..10_000))),
            7 => self.rig.change_life(None),
            8 => self.rig.lose_queue(),
            9 => self.rig.lose_share(),
            // Within a microsecond the next sharer would have the fence of one who stays.
            _ => match self.rig.core.inspect(self.rig.now()).holder {
                Some(holder) if holder.fence.is_some() => {}
                _ => self.rig.lose_last_fence(),
            },
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
            0..280 => self.acquire().await,
            280..390 => self.try_acquire().await,
            390..450 => self.renew().await,
            450..480 => self.downgrade().await,
            480..510 => self.resize().await,
            510..540 => self.write().await,
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
            860..870 => self.permits().await,
            870..890 => self.writer().await,
            890..900 => self.orphans().await,
            _ => {
                let before = sharers(&self.rig.inspect().await);
                self.advance();
                let after = sharers(&self.rig.inspect().await);
                let lapsed = after < before && 0 < after;
                self.seen.count("shared hold lapsed, others stay", lapsed);
            }
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
            fashion: Fashion::Alone,
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
