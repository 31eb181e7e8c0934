//! Chaos tests: eight processes on a few names, and a nemesis. It injects two faults at once into
//! the processes, their connections and their servers. Each process records its holds, and the
//! histories are checked.
//!
//! Each history is kept in the target folder, where the testkit's example `check` checks it again.

#[path = "chaos/cluster.rs"]
mod cluster;
#[path = "chaos/failovers.rs"]
mod failovers;
#[path = "chaos/nemesis.rs"]
mod nemesis;
#[cfg(feature = "postgres")]
#[path = "chaos/postgres.rs"]
mod postgres;
#[path = "chaos/sentinel.rs"]
mod sentinel;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use testkit::{Folder, History, Summary, soak_time};

use nemesis::{Fault, Nemesis, WORKERS};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The longest lease of a worker: a hold that the server has forgotten stays valid for at most that
/// long.
const LEASE: Duration = ms(2_000);
/// Critical sections come close to these.
const LEASES_MS: &[u64] = &[500, 1_000, 2_000];
/// An unclaimed grant lasts longer than the waiters' poll interval.
const LONG_LEASES_MS: &[u64] = &[2_000];

struct ChaosRun {
    faults: &'static [Fault],
    time: Duration,
    folder: Folder,
    history: History,
    nemesis: Nemesis,
}

impl ChaosRun {
    fn new(
        name: &str,
        faults: &'static [Fault],
        leases_ms: &'static [u64],
        time: Duration,
    ) -> Self {
        let seed = seed();
        println!("ARBITER_TEST_SEED={seed}");
        let path = kept(&format!("{name}-{seed}.history"));
        let folder = Folder::new();
        Self {
            faults,
            time,
            history: History::open(&path).unwrap(),
            nemesis: Nemesis::new(seed, faults, leases_ms, folder.path(), &path),
            folder,
        }
    }

    fn run(mut self) -> Summary {
        self.nemesis.rage(self.faults, self.time);
        self.recovers();
        self.nemesis.kill_all();
        let summary = self.history.check();
        let summary = summary.unwrap_or_else(|violation| panic!("{violation}"));
        let faults = &self.nemesis.faults;
        println!("{summary:?}, {faults:?}");
        let (lost, writes) = self.lost_updates("fenced");
        println!("fenced: {lost} of {writes} updates lost");
        println!("unfenced: {:?} lost, of all", self.lost_updates("unfenced"));
        assert_eq!(lost, 0, "an old fence was let in");
        let least = usize::try_from(self.time.as_secs()).unwrap();
        assert!(least < summary.holds, "too little happened");
        assert_eq!(self.faults.len(), faults.len(), "{faults:?}");
        summary
    }

    /// Checks that every worker still gets its turn after the injected faults.
    fn recovers(&self) {
        let before = self.history.holds().unwrap().len();
        let limit = Instant::now() + ms(20_000);
        while self.history.holds().unwrap().len() < before + WORKERS {
            assert!(Instant::now() < limit, "no worker is granted");
            std::thread::sleep(ms(50));
        }
    }

    /// Returns how many updates of the registers of that kind were lost, and how many there were.
    fn lost_updates(&self, kind: &str) -> (u64, u64) {
        let (mut lost, mut all) = (0, 0);
        for name in ["a", "b", "rw"] {
            let path = self.folder.path().join(format!("{kind}-{name}"));
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let numbers: Vec<u64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
            if let [number, _, writes] = numbers[..] {
                (lost, all) = (lost + writes - number, all + writes);
            }
        }
        (lost, all)
    }
}

/// Creates an empty file for a history that outlives its test.
fn kept(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&path);
    println!("{}", path.display());
    path
}

fn seed() -> u64 {
    let seed = std::env::var("ARBITER_TEST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| u64::from(rand::random::<u32>()))
}

#[test]
fn holds_never_overlap_under_paired_faults() {
    let time = soak_time(ms(25_000));
    let summary = ChaosRun::new("safe", &Fault::HARMLESS, LEASES_MS, time).run();
    assert_eq!(summary.excused, 0);
}

#[test]
fn reachable_waiters_keep_order_under_process_faults() {
    let time = soak_time(ms(12_000));
    let summary = ChaosRun::new("order", &Fault::OF_PROCESSES, LONG_LEASES_MS, time).run();
    assert!(20 < summary.in_order, "too few waited");
}

#[test]
fn lost_server_memory_allows_one_lease_of_overlap() {
    let time = soak_time(ms(20_000));
    ChaosRun::new("lossy", &Fault::WITH_LOSSES, LEASES_MS, time).run();
}
