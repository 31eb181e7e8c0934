//! Processes on servers whose masters are replaced every few seconds: gracefully, killed, or paused
//! and resumed; on a cluster, slots are moved too. Meanwhile processes are killed and stopped.
//!
//! A new master may lack the latest holds of the old one. The worker records when its client
//! notices another master. In the second before that, the new master may have granted another
//! holder.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use testkit::{ChildProcess, Folder, History, Summary};

use super::{kept, ms, seed};

const WORKERS: usize = 6;
/// Some survive a graceful failover, all but the first a killed master.
const LEASES_MS: [&str; 3] = ["2000", "5000", "9000"];
/// How often the master is replaced, at most.
const EVERY: Duration = ms(8_000);

/// What happens to a master, or to a slot.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Graceful,
    Killed,
    Paused,
    Moved,
}

/// Servers whose masters are replaced.
pub(super) trait Servers {
    const FAULTS: &[Fault];

    fn url(&self) -> String;

    /// Injects the fault, which may last longer than it has to.
    fn inject(&mut self, fault: Fault, longer: Duration);

    fn wait_until_settled(&self);
}

pub(super) struct Run<S> {
    servers: S,
    /// The variables of the workers.
    env: Vec<(&'static str, String)>,
    folder: Folder,
    history: History,
    path: std::path::PathBuf,
    workers: Vec<ChildProcess>,
    rng: StdRng,
    faults: Vec<Fault>,
}

impl<S: Servers> Run<S> {
    pub(super) fn new(name: &str, servers: S, env: &[(&'static str, &str)]) -> Self {
        let seed = seed();
        println!("ARBITER_TEST_SEED={seed}");
        let path = kept(&format!("{name}-{seed}.history"));
        let mut run = Self {
            servers,
            env: env
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            folder: Folder::new(),
            history: History::open(&path).unwrap(),
            path,
            workers: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            faults: Vec::new(),
        };
        run.workers = (0..WORKERS).map(|_| run.worker()).collect();
        run
    }

    fn worker(&self) -> ChildProcess {
        let shown = |path: &Path| path.display().to_string();
        let (folder, history) = (shown(self.folder.path()), shown(&self.path));
        let url = self.servers.url();
        let args = [&[&*url, &*folder, &*history], &LEASES_MS[..]].concat();
        ChildProcess::example_in(&self.env, "worker", &args)
    }

    /// Injects faults repeatedly.
    pub(super) fn rage(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut deck = Vec::new();
        while Instant::now() < end || self.faults.len() < S::FAULTS.len() {
            let begun = Instant::now();
            if deck.is_empty() {
                deck = S::FAULTS.to_vec();
                deck.shuffle(&mut self.rng);
            }
            let fault = deck.pop().unwrap();
            let from = History::now_ns();
            let stopped = self.disturb(from);
            let longer = [0, 500, 2_000].choose(&mut self.rng).unwrap();
            self.servers.inject(fault, ms(*longer));
            self.faults.push(fault);
            if let Some(stopped) = stopped {
                self.workers[stopped].cont();
            }
            self.servers.wait_until_settled();
            // A waiter that could not poll for that long loses its turn. A master that needs
            // replicas takes no polls until they are back.
            let polled = History::now_ns() + ms(4_000).as_nanos() as u64;
            self.history.away(None, from, polled).unwrap();
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

    /// Waits until the workers are granted again, and there were `least` holds. Checks that all
    /// holds were consistent.
    pub(super) fn judge(mut self, least: usize) -> Summary {
        let before = self.history.holds().unwrap().len();
        let limit = Instant::now() + ms(60_000);
        while self.history.holds().unwrap().len() < least.max(before + WORKERS) {
            assert!(Instant::now() < limit, "too little happened");
            std::thread::sleep(ms(50));
        }
        let all_run = self.workers.iter_mut().all(ChildProcess::is_running);
        assert!(all_run, "a worker has ended by itself");
        self.workers.clear();
        let summary = self.history.check();
        let summary = summary.unwrap_or_else(|violation| panic!("{violation}"));
        println!("{summary:?}, {:?}", self.faults);
        summary
    }
}
