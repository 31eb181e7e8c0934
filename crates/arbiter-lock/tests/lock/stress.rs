//! Many tasks on few names under faults: holds never overlap, fences rise, and nothing is left at
//! the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Guard, Hold, Lock, NoopLogger, block_on};
use rand::RngExt as _;
use testkit::{Server, companion_kind, eventually, goes_on, soak_time};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The last hold, and the number of grants.
#[derive(Default)]
pub(crate) struct Register {
    last: Mutex<Option<Hold>>,
    pub(crate) grants: AtomicUsize,
}

impl Register {
    /// Records a new hold. The previous one must not be valid now.
    pub(crate) fn enter(&self, hold: &Hold) {
        let mut last = self.last.lock().unwrap();
        if let Some(before) = last.as_ref() {
            assert!(
                before.fence() < hold.fence(),
                "{} after {}",
                hold.fence(),
                before.fence()
            );
            assert!(
                !(hold.is_held() && before.is_held()),
                "two hold at once: {before:?} {hold:?}"
            );
        }
        *last = Some(hold.clone());
        self.grants.fetch_add(1, Ordering::Relaxed);
    }
}

fn pause(most_ms: u64) -> Duration {
    ms(dice(most_ms + 1))
}

fn dice(sides: u64) -> u64 {
    rand::rng().random_range(0..sides)
}

/// Whether the workers continue.
pub(crate) type GoesOn = Arc<dyn Fn() -> bool + Send + Sync>;

/// Acquires and releases the lock with every operation.
pub(crate) async fn worker(lock: Lock, register: Arc<Register>, goes_on: GoesOn) {
    while goes_on() {
        let acquired = tokio::time::timeout(pause(600), lock.acquire()).await;
        let Ok(Ok(guard)) = acquired else {
            tokio::time::sleep(pause(5)).await;
            continue;
        };
        register.enter(guard.hold());
        tokio::select! {
            () = tokio::time::sleep(pause(30)) => {}
            _ = guard.lost() => {}
        }
        match dice(4) {
            0 => drop(guard),
            1 => drop(tokio::time::timeout(pause(1), guard.release()).await),
            // The register detects overlaps, so a loss is ignored here.
            _ => drop(guard.release().await),
        }
    }
}

#[test]
fn holds_never_overlap_under_cuts_and_stalls() {
    let server = Server::start();
    let end = Instant::now() + soak_time(ms(10_000));
    let registers: [Arc<Register>; 3] = Default::default();
    let grants = {
        let registers = registers.clone();
        move || {
            registers
                .iter()
                .map(|r| r.grants.load(Ordering::Relaxed))
                .sum::<usize>()
        }
    };
    let enough = 300;
    let goes_on: GoesOn = {
        let grants = grants.clone();
        Arc::new(move || goes_on(end, || enough < grants()))
    };
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let client = loop {
                        let builder = Client::builder().store(&server.url()).logger(NoopLogger);
                        if let Ok(client) = builder.command_timeout(ms(250)).connect().await {
                            break client;
                        }
                    };
                    let mut workers = tokio::task::JoinSet::new();
                    for n in 0..9_usize {
                        let register = registers[n % 3].clone();
                        let lock = client
                            .lock(&format!("stress-{}", n % 3))
                            .lease_time(ms(400));
                        workers.spawn(worker(lock, register, goes_on.clone()));
                    }
                    workers.join_all().await;
                    client.shutdown(ms(2_000)).await;
                });
            });
        }
        threads.spawn(|| spoil(&server, end));
    });
    println!("{} grants", grants());
    assert!(enough < grants());
    let locks = || {
        server
            .keys()
            .into_iter()
            .filter(|key| !key.contains("#arbiter."))
            .collect::<Vec<_>>()
    };
    assert!(
        eventually(ms(1_500), || locks().is_empty()),
        "{:?}",
        locks()
    );
}

/// Stalls the server and cuts its connections.
fn spoil(server: &Server, end: Instant) {
    while Instant::now() < end {
        match dice(8) {
            0 => {
                server.stop();
                std::thread::sleep(pause(500));
                server.cont();
            }
            1 => drop(server.call(&["SCRIPT", "FLUSH"])),
            2 => drop(server.call(&["CLIENT", "PAUSE", "150", "WRITE"])),
            3 => drop(server.call(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            4 => drop(server.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])),
            _ => std::thread::sleep(pause(400)),
        }
    }
}

const MOST: u64 = 6;

/// The valid holds with their weights.
#[derive(Default)]
struct Company {
    holds: Mutex<Vec<(Hold, u64)>>,
    counts: [AtomicUsize; 2],
}

impl Company {
    /// Records a new hold: now either one excludes all others, or all of them fit the limit.
    pub(crate) fn enter(&self, hold: &Hold, weight: u64) {
        let mut holds = self.holds.lock().unwrap();
        holds.push((hold.clone(), weight));
        holds.retain(|(hold, _)| hold.is_held());
        let alone = holds.iter().any(|(hold, _)| !hold.is_shared());
        let weight: u64 = holds.iter().map(|(_, weight)| weight).sum();
        let contradicts = MOST < weight || (alone && 1 < holds.len());
        assert!(!contradicts, "holds overlap: {holds:?}");
        self.counts[usize::from(hold.is_shared())].fetch_add(1, Ordering::Relaxed);
    }
}

/// Holds exclusively or shares, downgrades, resizes, and releases with every operation.
async fn mixed_worker(client: Client, name: String, company: Arc<Company>, goes_on: GoesOn) {
    let lease = ms(400);
    let writer = client.rw_lock(&name).lease_time(lease);
    let semaphore = |limit| {
        client
            .semaphore(&name, limit)
            .lease_time(lease)
            .follow_limit()
    };
    while goes_on() {
        let weight = if dice(3) == 0 { 0 } else { 1 + dice(3) };
        let acquire = async {
            match weight {
                0 => writer.write().await,
                _ => semaphore(4).acquire_many(weight as u32).await,
            }
        };
        let Ok(Ok(guard)) = tokio::time::timeout(pause(600), acquire).await else {
            tokio::time::sleep(pause(5)).await;
            continue;
        };
        company.enter(guard.hold(), weight.max(1));
        if dice(4) == 0 {
            // Refused if a waiter states a limit.
            drop(guard.downgrade().await);
        }
        if dice(4) == 0 {
            let limit = 3 + dice(MOST - 2) as u32;
            drop(semaphore(4).resize(limit).await);
        }
        tokio::select! {
            () = tokio::time::sleep(pause(30)) => {}
            _ = guard.lost() => {}
        }
        leave(guard).await;
    }
}

async fn leave(guard: Guard) {
    match dice(4) {
        0 => drop(guard),
        1 => drop(tokio::time::timeout(pause(1), guard.release()).await),
        _ => drop(guard.release().await),
    }
}

/// Runs a client's twelve workers on two names.
fn mixed_client(url: &str, companies: &[Arc<Company>; 2], end: Instant) {
    let goes_on: GoesOn = {
        let companies = companies.clone();
        Arc::new(move || goes_on(end, || are_enough(counts(&companies))))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = loop {
            let builder = Client::builder().store(url).logger(NoopLogger);
            if let Ok(client) = builder.command_timeout(ms(250)).connect().await {
                break client;
            }
        };
        let mut workers = tokio::task::JoinSet::new();
        for n in 0..12_usize {
            let (name, company) = (format!("mixed-{}", n % 2), &companies[n % 2]);
            let (company, goes_on) = (company.clone(), goes_on.clone());
            workers.spawn(mixed_worker(client.clone(), name, company, goes_on));
        }
        workers.join_all().await;
        client.shutdown(ms(2_000)).await;
    });
}

/// Returns the number of exclusive holds and of shared holds.
fn counts(companies: &[Arc<Company>; 2]) -> [usize; 2] {
    [0, 1].map(|n| {
        let counts = companies.iter().map(|company| &company.counts[n]);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    })
}

fn are_enough([alone, shared]: [usize; 2]) -> bool {
    50 < alone && 100 < shared
}

#[test]
fn writers_and_permits_never_overlap_under_stalls() {
    let server = Server::start();
    let end = Instant::now() + soak_time(ms(9_000));
    let companies = [Arc::default(), Arc::default()];
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| mixed_client(&server.url(), &companies, end));
        }
        threads.spawn(|| spoil(&server, end));
    });
    let counts = counts(&companies);
    println!("alone and shared: {counts:?}");
    assert!(are_enough(counts), "{counts:?}");
    let left = || {
        let keys = server.keys().into_iter();
        let held = |key: &String| matches!(companion_kind(key), None | Some("share"));
        keys.filter(held).collect::<Vec<_>>()
    };
    assert!(eventually(ms(1_500), || left().is_empty()), "{:?}", left());
}

#[cfg(feature = "embedded")]
#[test]
fn writers_and_permits_never_overlap_in_a_file() {
    let folder = testkit::Folder::new();
    let end = Instant::now() + soak_time(ms(4_000));
    let companies = [Arc::default(), Arc::default()];
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| mixed_client(&folder.url(), &companies, end));
        }
    });
    let counts = counts(&companies);
    println!("alone and shared: {counts:?}");
    assert!(are_enough(counts), "{counts:?}");
    let client = Client::builder().store(&folder.url()).logger(NoopLogger);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(client.connect()).unwrap();
    for name in ["mixed-0", "mixed-1"] {
        let all = client.semaphore(name, 7).wait_timeout(ms(1_500));
        drop(block_on(all.acquire_many(7)).unwrap());
    }
}
