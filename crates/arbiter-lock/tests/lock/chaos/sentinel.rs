//! Processes on a Sentinel group whose master is replaced every few seconds: gracefully, killed, or
//! paused and resumed. Meanwhile processes are killed and stopped.
//!
//! A new master may lack the latest holds of the old one. The worker records when its client
//! notices another master. In the second before that, the new master may have granted another
//! holder.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use testkit::{ChildProcess, Folder, History, SentinelGroup, SentinelGroupBuilder, soak_time};

use super::{kept, ms, seed};

const WORKERS: usize = 6;
/// Some survive a graceful failover, all but the first a killed master.
const LEASES_MS: [&str; 3] = ["2000", "5000", "9000"];
/// How often the master is replaced, at most.
const EVERY: Duration = ms(8_000);
#[derive(Clone, Copy, Debug)]
enum Failover {
    Graceful,
    Killed,
    Paused,
}

struct Run {
    group: SentinelGroup,
    folder: Folder,
    history: History,
    path: std::path::PathBuf,
    workers: Vec<ChildProcess>,
    rng: StdRng,
    failovers: Vec<Failover>,
}

impl Run {
    fn new(name: &str, group: SentinelGroupBuilder) -> Self {
        let seed = seed();
        println!("ARBITER_TEST_SEED={seed}");
        let path = kept(&format!("{name}-{seed}.history"));
        let mut run = Self {
            group: group.start(),
            folder: Folder::new(),
            history: History::open(&path).unwrap(),
            path,
            workers: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            failovers: Vec::new(),
        };
        run.workers = (0..WORKERS).map(|_| run.worker()).collect();
        run
    }

    fn worker(&self) -> ChildProcess {
        let shown = |path: &Path| path.display().to_string();
        let (folder, history) = (shown(self.folder.path()), shown(&self.path));
        let url = self.group.url();
        let args = [&[&*url, &*folder, &*history], &LEASES_MS[..]].concat();
        ChildProcess::example("worker", &args)
    }

    /// Replaces the master repeatedly.
    fn rage(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut deck = Vec::new();
        while Instant::now() < end || self.failovers.len() < 3 {
            let begun = Instant::now();
            if deck.is_empty() {
                deck = vec![Failover::Graceful, Failover::Killed, Failover::Paused];
                deck.shuffle(&mut self.rng);
            }
            let failover = deck.pop().unwrap();
            let from = History::now_ns();
            let stopped = self.disturb(from);
            self.fail_over(failover);
            self.failovers.push(failover);
            if let Some(stopped) = stopped {
                self.workers[stopped].cont();
            }
            // A waiter that could not poll for that long loses its turn.
            let polled = History::now_ns() + ms(4_000).as_nanos() as u64;
            self.history.away(None, from, polled).unwrap();
            self.group.wait_until_settled();
            std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
        }
    }

    /// Kills a worker, stops a worker, or does neither. Returns the stopped worker.
    fn disturb(&mut self, from: u64) -> Option<usize> {
        let victim = self.rng.random_range(0..WORKERS);
        match self.rng.random_range(0..3) {
            0 => {
                self.workers[victim].stop();
                let owner = self.workers[victim].pid().to_string();
                self.history.end_all_of(&owner).unwrap();
                self.workers[victim] = self.worker();
                None
            }
            1 => {
                self.workers[victim].stop();
                let owner = self.workers[victim].pid().to_string();
                let to = from + ms(30_000).as_nanos() as u64;
                self.history.away(Some(&owner), from, to).unwrap();
                Some(victim)
            }
            _ => None,
        }
    }

    fn fail_over(&mut self, failover: Failover) {
        let old = self.group.master();
        match failover {
            Failover::Graceful => drop(self.group.fail_over()),
            Failover::Killed => {
                self.group.servers[old].kill();
                self.group.wait_for_another(old);
                self.group.servers[old].restart();
            }
            Failover::Paused => {
                self.group.servers[old].stop();
                self.group.wait_for_another(old);
                let longer = [0, 500, 2_000].choose(&mut self.rng).unwrap();
                std::thread::sleep(ms(*longer));
                self.group.servers[old].cont();
            }
        }
    }

    /// Checks that every worker is granted again, and that all holds were consistent.
    fn judge(mut self) {
        let before = self.history.holds().unwrap().len();
        let limit = Instant::now() + ms(20_000);
        while self.history.holds().unwrap().len() < before + WORKERS {
            assert!(Instant::now() < limit, "no worker is granted");
            std::thread::sleep(ms(50));
        }
        let all_run = self.workers.iter_mut().all(ChildProcess::is_running);
        assert!(all_run, "a worker has ended by itself");
        self.workers.clear();
        let summary = self.history.check();
        let summary = summary.unwrap_or_else(|violation| panic!("{violation}"));
        println!("{summary:?}, {:?}", self.failovers);
        assert!(30 < summary.holds, "too little happened");
    }
}

#[test]
fn failovers_overlap_holds_for_at_most_a_second() {
    let mut run = Run::new("sentinel", SentinelGroup::builder());
    run.rage(soak_time(ms(24_000)));
    run.judge();
}

#[test]
fn protected_masters_keep_the_same_bound() {
    let mut run = Run::new("protected", SentinelGroup::builder().min_replicas());
    run.rage(soak_time(ms(24_000)));
    run.judge();
}
