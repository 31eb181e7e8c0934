//! The faults injected into the processes, their connections and their servers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use testkit::{
    ChildProcess, History, Proxy, Pushes, Server, Traffic, WallClock, companion_kind, eventually,
};

use super::{LEASE, ms};

pub(super) const WORKERS: usize = 8;

/// The longest duration of a fault. Some outlast every lease.
const LONGEST_MS: u64 = 2_800;
/// How long a waiter may be skipped after a failure of connections or of the server's memory. It
/// could not poll in the meantime.
const OUT_OF_REACH: Duration = ms(4_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Kill,
    Stop,
    Cut,
    Silence,
    Stall,
    LostPushes,
    LatePushes,
    Full,
    ReadOnly,
    NoScripts,
    ClockBack,
    /// The server's clock runs as fast as the guarantee allows.
    Drift,
    /// Every message takes some tens of milliseconds in either direction.
    SlowLink,
    ClockAhead,
    Flush,
    Restart,
    Failover,
    Switchover,
}

impl Fault {
    /// Faults that affect at most the process that they hit.
    pub(super) const OF_PROCESSES: [Self; 4] =
        [Self::Kill, Self::Stop, Self::NoScripts, Self::ClockBack];

    /// Faults under which holds never overlap.
    pub(super) const HARMLESS: [Self; 13] = [
        Self::Kill,
        Self::Stop,
        Self::Cut,
        Self::Silence,
        Self::Stall,
        Self::LostPushes,
        Self::LatePushes,
        Self::Full,
        Self::ReadOnly,
        Self::NoScripts,
        Self::ClockBack,
        Self::Drift,
        Self::SlowLink,
    ];

    /// The last five of these allow an earlier holder to stay valid until it is notified.
    pub(super) const WITH_LOSSES: [Self; 9] = [
        Self::Kill,
        Self::Stop,
        Self::Cut,
        Self::Silence,
        Self::ClockAhead,
        Self::Flush,
        Self::Restart,
        Self::Failover,
        Self::Switchover,
    ];

    fn is_loss(self) -> bool {
        Self::ClockAhead <= self
    }

    fn is_of_processes(self) -> bool {
        Self::OF_PROCESSES.contains(&self)
    }
}

pub(super) struct Nemesis {
    server: Server,
    /// The server that takes over if the first one fails.
    replica: Option<Server>,
    proxy: Proxy,
    clock: WallClock,
    /// How far the server's clock is ahead, in microseconds.
    ahead: i64,
    folder: PathBuf,
    history: PathBuf,
    leases_ms: &'static [u64],
    workers: Vec<ChildProcess>,
    stopped: Option<usize>,
    rng: StdRng,
    /// The faults left in this round. The next one is last.
    deck: Vec<Fault>,
    pub(super) faults: BTreeMap<Fault, u32>,
}

impl Nemesis {
    pub(super) fn new(
        seed: u64,
        faults: &[Fault],
        leases_ms: &'static [u64],
        folder: &Path,
        history: &Path,
    ) -> Self {
        let clock = WallClock::new();
        let server = start(&clock);
        let proxy = Proxy::before(&server);
        let mut nemesis = Self {
            server,
            replica: None,
            proxy,
            clock,
            ahead: 0,
            folder: folder.to_owned(),
            history: history.to_owned(),
            leases_ms,
            workers: Vec::new(),
            stopped: None,
            rng: StdRng::seed_from_u64(seed),
            deck: Vec::new(),
            faults: BTreeMap::new(),
        };
        if faults.contains(&Fault::Failover) {
            nemesis.replica = Some(nemesis.start_replica());
        }
        nemesis.workers = (0..WORKERS).map(|_| nemesis.worker()).collect();
        nemesis
    }

    fn worker(&self) -> ChildProcess {
        let [folder, history] = [&self.folder, &self.history].map(|path| path.display());
        let mut args = vec![self.proxy.url(), folder.to_string(), history.to_string()];
        args.extend(self.leases_ms.iter().map(u64::to_string));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        ChildProcess::example("worker", &args)
    }

    fn start_replica(&self) -> Server {
        let replica = start(&self.clock);
        follow(&replica, &self.server);
        replica
    }

    fn history(&self) -> History {
        History::open(&self.history).expect("the history")
    }

    /// Injects two faults at once, repeatedly.
    pub(super) fn rage(&mut self, faults: &[Fault], time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let first = self.draw(faults, None);
            let pair = [first, self.draw(faults, Some(first))];
            let from = History::now_ns();
            for fault in pair {
                *self.faults.entry(fault).or_default() += 1;
                self.begin(fault);
            }
            std::thread::sleep(ms(self.rng.random_range(100..LONGEST_MS)));
            pair.into_iter().for_each(|fault| self.end(fault));
            // A short lease expires before other waiters have polled again, and they lose their
            // turn with it.
            let is_short = self.leases_ms.iter().any(|lease| ms(*lease) < LEASE);
            if is_short || !pair.into_iter().all(Fault::is_of_processes) {
                let to = later(History::now_ns(), OUT_OF_REACH);
                self.history().away(None, from, to).expect("a line");
            }
            // A process that was stopped meanwhile dates its pushes by the old clock.
            if [Fault::ClockAhead, Fault::Stop]
                .iter()
                .all(|it| pair.contains(it))
            {
                let to = later(History::now_ns(), LEASE);
                self.history().forgot(from, to).expect("a line");
            }
            self.every_key_has_a_ttl();
            std::thread::sleep(ms(self.rng.random_range(50..700)));
        }
    }

    /// Returns the next fault of the deck other than `beside`.
    fn draw(&mut self, faults: &[Fault], beside: Option<Fault>) -> Fault {
        if self.deck.is_empty() {
            self.deck = faults.to_vec();
            self.deck.shuffle(&mut self.rng);
        }
        let next = self.deck.iter().rposition(|fault| Some(*fault) != beside);
        self.deck.remove(next.expect("another fault"))
    }

    fn begin(&mut self, fault: Fault) {
        let from = History::now_ns();
        match fault {
            Fault::Kill => self.kill(),
            Fault::Stop => {
                let victim = self.rng.random_range(0..WORKERS);
                self.away(victim, from);
                self.workers[victim].stop();
                self.stopped = Some(victim);
            }
            Fault::Cut => self.proxy.cut_all(),
            Fault::Silence => self.proxy.set_traffic(Traffic::Silent),
            Fault::Stall => self.proxy.set_traffic(Traffic::Stalled),
            Fault::LostPushes => self.proxy.set_pushes(Pushes::Lost),
            Fault::LatePushes => self.proxy.set_pushes(Pushes::Late(ms(1_500))),
            Fault::Full => drop(self.server.call(&["CONFIG", "SET", "maxmemory", "1"])),
            // It is external to all processes: it keeps its memory.
            Fault::ReadOnly => drop(self.server.call(&["REPLICAOF", "127.0.0.1", "1"])),
            Fault::NoScripts => drop(self.server.call(&["SCRIPT", "FLUSH"])),
            Fault::ClockBack => self.step_clock(-1_000_000),
            Fault::Drift => self.clock.drift(20_000),
            Fault::SlowLink => self.proxy.set_delay(ms(self.rng.random_range(20..=50))),
            Fault::ClockAhead => self.step_clock(3_000_000),
            Fault::Flush => drop(self.server.call(&["FLUSHALL"])),
            Fault::Restart => self.server.restart(),
            Fault::Failover => self.fail_over(),
            Fault::Switchover => self.switch_over(),
        }
        if fault.is_loss() {
            let to = later(History::now_ns(), LEASE);
            self.history().forgot(from, to).expect("a line");
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Stop => {
                if let Some(victim) = self.stopped.take() {
                    self.workers[victim].cont();
                }
            }
            Fault::Silence | Fault::Stall => self.proxy.set_traffic(Traffic::Flowing),
            Fault::Drift => self.clock.drift(0),
            Fault::SlowLink => self.proxy.set_delay(Duration::ZERO),
            Fault::LostPushes | Fault::LatePushes => self.proxy.set_pushes(Pushes::Flowing),
            Fault::Full => drop(self.server.call(&["CONFIG", "SET", "maxmemory", "0"])),
            Fault::ReadOnly => drop(self.server.call(&["REPLICAOF", "NO", "ONE"])),
            _ => {}
        }
    }

    /// Records a stopped process, which loses its turn until it has polled again.
    fn away(&self, victim: usize, from: u64) {
        let owner = self.workers[victim].pid().to_string();
        let to = later(from, ms(LONGEST_MS) + ms(1_500));
        self.history().away(Some(&owner), from, to).expect("a line");
    }

    /// Kills a process. If it was stopped before, it may have lost its holds at an unknown time.
    fn kill(&mut self) {
        let running: Vec<usize> = (0..WORKERS).filter(|n| self.stopped != Some(*n)).collect();
        let victim = running[self.rng.random_range(0..running.len())];
        let worker = &mut self.workers[victim];
        assert!(worker.is_running(), "a worker has ended by itself");
        worker.stop();
        let owner = worker.pid().to_string();
        self.history().end_all_of(&owner).expect("its lines");
        self.workers[victim] = self.worker(); // Dropping the old one kills it.
    }

    fn step_clock(&mut self, most: i64) {
        self.ahead += most / 5 * self.rng.random_range(1..=5);
        self.clock.run_ahead(self.ahead);
    }

    /// Stops the replication, kills the server, and puts the replica in its place.
    fn fail_over(&mut self) {
        self.promote().kill();
        self.replica = Some(self.start_replica());
    }

    /// Swaps the roles of the two servers; no connection ends.
    fn switch_over(&mut self) {
        let old = self.promote();
        follow(&old, &self.server);
        self.replica = Some(old);
    }

    /// Puts the replica in the place of the server, which still answers.
    fn promote(&mut self) -> Server {
        let replica = self.replica.take().expect("a replica");
        replica.call(&["REPLICAOF", "NO", "ONE"]);
        std::thread::sleep(ms(self.rng.random_range(0..300)));
        self.proxy.lead_to(&replica);
        std::mem::replace(&mut self.server, replica)
    }

    fn every_key_has_a_ttl(&self) {
        let keys = self.server.keys().into_iter();
        let mut without_ttl = keys.filter(|key| self.server.call(&["PTTL", key]).int() == Some(-1));
        assert_eq!(without_ttl.next(), None, "it has no TTL");
    }

    /// Kills all processes, and checks that their holds are freed.
    pub(super) fn kill_all(&mut self) {
        let all_run = self.workers.iter_mut().all(ChildProcess::is_running);
        assert!(all_run, "a worker has ended by itself");
        self.workers.clear();
        let held = || {
            let is_hold = |key: &String| matches!(companion_kind(key), None | Some("share"));
            let keys = self.server.keys().into_iter();
            keys.filter(is_hold).collect::<Vec<_>>()
        };
        let is_free = eventually(2 * LEASE, || held().is_empty());
        assert!(is_free, "{:?}", held());
    }
}

fn follow(replica: &Server, server: &Server) {
    replica.call(&["REPLICAOF", "127.0.0.1", &server.port().to_string()]);
}

/// Starts a server that sends its data to replicas at once.
fn start(clock: &WallClock) -> Server {
    let builder = Server::builder().arg("--repl-diskless-sync-delay").arg("0");
    clock.rule(builder).start()
}

fn later(ns: u64, by: Duration) -> u64 {
    ns + by.as_nanos() as u64
}
