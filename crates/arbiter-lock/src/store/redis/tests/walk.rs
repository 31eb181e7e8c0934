//! A random walk: steps that are fed to the core and to the scripts.

use std::num::NonZeroU32;

use arbiter_lock_core::{Contender, Grant, Limit, Mode, Status};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ask::contender;
use super::rig::{Rig, listens};
use super::seen::Seen;

/// How the requests of a while want to hold.
#[derive(Clone, Copy)]
pub(super) enum Fashion {
    Alone,
    Readers,
    Permits,
}

pub(super) struct Walk {
    pub(super) rig: Rig,
    pub(super) random: StdRng,
    pub(super) seen: Seen,
    /// Requests that the steps are about, with the last ticket and fence that each was given.
    pub(super) pool: Vec<(Contender, Option<u64>, u64)>,
    pub(super) next_id: usize,
    pub(super) fashion: Fashion,
}

impl Walk {
    pub(super) async fn new(server: testkit::ServerBuilder, seed: u64) -> Self {
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

    pub(super) async fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step().await;
        }
    }

    pub(super) fn fresh(&mut self) -> Contender {
        self.next_id += 1;
        let channel = ["c0", "c1", "c0", "none"][self.random.random_range(0..4)];
        let lease = [100, 900, 2_000, 5_000, 30_000][self.random.random_range(0..5)];
        let mode = self.mode();
        Contender {
            mode,
            ..contender(&format!("r{}", self.next_id), channel, lease)
        }
    }

    pub(super) fn mode(&mut self) -> Mode {
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

    pub(super) fn renew_pool(&mut self) {
        let index = self.random.random_range(0..self.pool.len());
        let request = self.fresh();
        self.pool[index] = (request, None, 0);
        if self.random.random_bool(0.02) {
            let fashions = [Fashion::Alone, Fashion::Readers, Fashion::Permits];
            self.fashion = fashions[self.random.random_range(0..3)];
        }
    }

    pub(super) fn note_grants(&mut self, granted: &[Grant]) {
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

    /// Returns a request of the pool, in most cases the holder.
    pub(super) async fn holder_or_any(&mut self) -> usize {
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

    pub(super) fn external(&mut self) {
        match self.random.random_range(0..11) {
            0..2 => {
                let ttl =
                    [Some(50), Some(3_000), Some(100_000), None][self.random.random_range(0..4)];
                let owner = ["Zm9yZWlnbg==", "shared"][self.random.random_range(0..2)];
                self.rig.take_externally(owner, ttl);
            }
            2..6 => self.rig.delete_externally(),
            6 => self
                .rig
                .change_ttl(Some(self.random.random_range(1..10_000))),
            7 => self.rig.change_ttl(None),
            8 => self.rig.lose_queue(),
            9 => self.rig.lose_share(),
            // Within a microsecond the next sharer would have the fence of a remaining one.
            _ => match self.rig.core.inspect(self.rig.now()).holder {
                Some(holder) if holder.fence.is_some() => {}
                _ => self.rig.lose_last_fence(),
            },
        }
    }

    pub(super) fn advance(&mut self) {
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
        // Only ever whole weeks of milliseconds, of which no TTL is a multiple: no step then
        // falls into the last millisecond of one.
        let now = self.rig.now().as_micros() as i64;
        let milli = now / 1_000 + micros.max(0) / 7_000 * 7;
        let then = milli * 1_000 + self.random.random_range(0..1_000);
        self.rig.advance((then - now).max(0));
    }

    pub(super) async fn step(&mut self) {
        match self.random.random_range(0..1_000) {
            0..280 => self.acquire().await,
            280..375 => self.try_acquire().await,
            375..390 => self.transfer().await,
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
            810..850 => self.external(),
            850..860 => self.crowd().await,
            860..870 => self.permits().await,
            870..890 => self.writer().await,
            890..900 => self.orphans().await,
            900..905 => self.line_behind_readers().await,
            _ => {
                let before = sharers(&self.rig.inspect().await);
                self.advance();
                let after = sharers(&self.rig.inspect().await);
                let expired = after < before && 0 < after;
                self.seen.count("shared hold expired, others stay", expired);
            }
        }
    }
}

/// Returns whether that owner holds, alone or shared.
pub(super) fn holds(status: &Status, owner: &str) -> bool {
    let sharers = status.sharing.iter().flat_map(|s| &s.holders);
    let mut all = sharers.map(|s| &s.holder).chain(&status.holder);
    all.any(|holder| &*holder.owner == owner)
}

pub(super) fn sharers(status: &Status) -> u64 {
    status.sharing.as_ref().map_or(0, |sharing| sharing.count)
}
