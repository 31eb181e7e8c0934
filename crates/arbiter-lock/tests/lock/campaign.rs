//! Eight processes on three names, and a nemesis that does two things at once to them, their
//! connections and their server. What they believed is written down, and compared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::{Folder, History, Proxy, Puppet, Pushes, Server, Traffic, soak_time};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const WORKERS: usize = 8;
/// The longest lease of a worker: so long may one believe in a hold that the server has forgotten.
const LEASE: Duration = ms(2_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    Stop,
    Cut,
    Silence,
    Stall,
    LostPushes,
    LatePushes,
    Full,
    NoScripts,
    Flush,
    Restart,
}

/// After these no two may ever believe.
const HARMLESS: [Fault; 9] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Cut,
    Fault::Silence,
    Fault::Stall,
    Fault::LostPushes,
    Fault::LatePushes,
    Fault::Full,
    Fault::NoScripts,
];

/// After the last two of these a holder of before may believe until it hears of it.
const ALL: [Fault; 6] = [
    Fault::Kill,
    Fault::Stop,
    Fault::Cut,
    Fault::Silence,
    Fault::Flush,
    Fault::Restart,
];

struct Campaign {
    server: Server,
    proxy: Proxy,
    folder: Folder,
    history: History,
    workers: Vec<Puppet>,
    stopped: Option<usize>,
    rng: StdRng,
    faults: BTreeMap<Fault, u32>,
    /// When the server forgot everything.
    losses: Vec<[u64; 2]>,
}

impl Campaign {
    fn new(seed: u64) -> Self {
        println!("ARBITER_TEST_SEED={seed}");
        let server = Server::start();
        let (proxy, folder) = (Proxy::before(&server), Folder::new());
        let history = History::open(&folder.path().join("history")).unwrap();
        let mut campaign = Self {
            server,
            proxy,
            folder,
            history,
            workers: Vec::new(),
            stopped: None,
            rng: StdRng::seed_from_u64(seed),
            faults: BTreeMap::new(),
            losses: Vec::new(),
        };
        campaign.workers = (0..WORKERS).map(|_| campaign.worker()).collect();
        campaign
    }

    fn worker(&self) -> Puppet {
        let folder = self.folder.path().display().to_string();
        Puppet::example("worker", &[&self.proxy.url(), &folder])
    }

    fn run(&mut self, faults: &[Fault], time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let first = self.rng.random_range(0..faults.len());
            let second = (first + self.rng.random_range(1..faults.len())) % faults.len();
            let pair = [faults[first], faults[second]];
            for fault in pair {
                *self.faults.entry(fault).or_default() += 1;
                self.begin(fault);
            }
            // Some outlast every lease.
            std::thread::sleep(ms(self.rng.random_range(100..2_800)));
            pair.into_iter().for_each(|fault| self.end(fault));
            std::thread::sleep(ms(self.rng.random_range(50..700)));
        }
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => self.kill(),
            Fault::Stop => {
                let victim = self.rng.random_range(0..WORKERS);
                self.workers[victim].stop();
                self.stopped = Some(victim);
            }
            Fault::Cut => self.proxy.cut_all(),
            Fault::Silence => self.proxy.set_traffic(Traffic::Silent),
            Fault::Stall => self.proxy.set_traffic(Traffic::Stalled),
            Fault::LostPushes => self.proxy.set_pushes(Pushes::Lost),
            Fault::LatePushes => self.proxy.set_pushes(Pushes::Late(ms(1_500))),
            Fault::Full => drop(self.server.call(&["CONFIG", "SET", "maxmemory", "1"])),
            Fault::NoScripts => drop(self.server.call(&["SCRIPT", "FLUSH"])),
            Fault::Flush => {
                let before = History::now_ns();
                self.server.call(&["FLUSHALL"]);
                self.losses.push([before, History::now_ns()]);
            }
            Fault::Restart => {
                let before = History::now_ns();
                self.server.restart();
                self.losses.push([before, History::now_ns()]);
            }
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Stop => {
                let stopped = self.stopped.take();
                stopped.into_iter().for_each(|n| self.workers[n].cont());
            }
            Fault::Silence | Fault::Stall => self.proxy.set_traffic(Traffic::Flowing),
            Fault::LostPushes | Fault::LatePushes => self.proxy.set_pushes(Pushes::Flowing),
            Fault::Full => drop(self.server.call(&["CONFIG", "SET", "maxmemory", "0"])),
            _ => {}
        }
    }

    /// One that was stopped before may believe no more, and nobody knows since when.
    fn kill(&mut self) {
        let running: Vec<usize> = (0..WORKERS).filter(|n| self.stopped != Some(*n)).collect();
        let victim = running[self.rng.random_range(0..running.len())];
        let worker = &mut self.workers[victim];
        worker.stop();
        self.history.end_all_of(&worker.pid().to_string()).unwrap();
        worker.kill();
        self.workers[victim] = self.worker();
    }

    /// How many updates of the registers of that kind were lost, and how many there were.
    fn lost_updates(&self, kind: &str) -> (u64, u64) {
        let (mut lost, mut all) = (0, 0);
        for name in ["a", "b", "c"] {
            let path = self.folder.path().join(format!("{kind}-{name}"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let numbers: Vec<u64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
            if let [number, _, writes] = numbers[..] {
                (lost, all) = (lost + writes - number, all + writes);
            }
        }
        (lost, all)
    }

    /// Everybody still gets its turn, whatever was done.
    fn recovers(&self) {
        let before = self.history.beliefs().unwrap().len();
        let limit = Instant::now() + ms(20_000);
        while self.history.beliefs().unwrap().len() < before + WORKERS {
            assert!(Instant::now() < limit, "nobody is granted any more");
            std::thread::sleep(ms(50));
        }
    }

    fn judge(mut self, faults: &[Fault], time: Duration) {
        self.run(faults, time);
        self.recovers();
        self.workers.clear();
        let summary = self.history.check_but(&self.losses, LEASE);
        let summary = summary.unwrap_or_else(|violation| panic!("{violation}"));
        let (lost, writes) = self.lost_updates("fenced");
        println!("{summary:?}, {:?}", self.faults);
        println!("fenced: {lost} of {writes} updates lost");
        println!("unfenced: {:?} lost, of all", self.lost_updates("unfenced"));
        assert_eq!(lost, 0, "an old fence was let in");
        assert!(
            time.as_secs() < summary.beliefs as u64,
            "hardly anything happened"
        );
        assert!(self.faults.len() + 2 >= faults.len(), "{:?}", self.faults);
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ARBITER_TEST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

#[test]
fn no_two_ever_believe_while_processes_connections_and_memory_fail_in_pairs() {
    Campaign::new(seed()).judge(&HARMLESS, soak_time(ms(25_000)));
}

#[test]
fn a_server_that_forgets_all_makes_two_believe_for_a_lease_at_most_and_fences_rise() {
    Campaign::new(seed()).judge(&ALL, soak_time(ms(20_000)));
}
