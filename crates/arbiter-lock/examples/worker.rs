//! A helper of the tests, not an example: a process that acquires and releases locks forever, and
//! records its valid holds. A test kills it, stops it, and cuts it off. Usage:
//! `worker URL FOLDER HISTORY LEASE_MS…`.
//!
//! It holds names exclusively, as a reader, and with permits. Under an exclusive hold it increments
//! two registers of the name: one refuses an older fence, and the other accepts every write. Work
//! may last longer than a lease.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arbiter_lock::{Client, Error, Event, Guard, Replicas};
use rustix::fs::{FlockOperation, flock};
use testkit::{History, HoldInterval, Share};

const WAIT: Duration = Duration::from_secs(5);
/// How much later than others a client may notice another master, in nanoseconds.
const NOTICED_WITHIN: u64 = 1_000_000_000;
/// How long the loss of a hold that the new master lacks may take after that, in nanoseconds.
const TOLD_WITHIN: u64 = 200_000_000;
const TICK: Duration = Duration::from_millis(5);
const PERMITS: u32 = 3;

fn dice(sides: u32) -> u32 {
    rand::random::<u32>() % sides
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, url, folder, history, leases @ ..] = &args[..] else {
        panic!("usage: worker URL FOLDER HISTORY LEASE_MS…");
    };
    let leases = leases.iter().map(|ms| ms.parse().expect("milliseconds"));
    let queued_ns = Arc::new(AtomicU64::new(0));
    let worker = Worker {
        folder: folder.into(),
        history: History::open(Path::new(history)).expect("a history"),
        client: connect(url, history, &queued_ns).await,
        leases: leases.map(Duration::from_millis).collect(),
        queued_ns,
    };
    println!("ready");
    loop {
        if !worker.turn().await {
            tokio::time::sleep(TICK).await;
        }
    }
}

async fn connect(url: &str, history: &str, queued_ns: &Arc<AtomicU64>) -> Client {
    loop {
        let queued_ns = queued_ns.clone();
        let history = History::open(Path::new(history)).expect("a history");
        let logger = move |event: &Event| {
            let now = History::now_ns();
            match event {
                Event::Waiting(_) => {
                    let (first, later) = (Ordering::Relaxed, Ordering::Relaxed);
                    let _ = queued_ns.compare_exchange(0, now, first, later);
                }
                Event::MasterReplaced { .. } if !is_acknowledged() => {
                    let (from, to) = (now.saturating_sub(NOTICED_WITHIN), now + TOLD_WITHIN);
                    history.forgot(from, to).expect("a line");
                }
                _ => {}
            }
        };
        let mut builder = Client::builder().store(url).logger(logger);
        if is_acknowledged() {
            builder = builder.default_replicas(Replicas::All);
        }
        match builder.connect().await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

/// Returns whether all replicas have to acknowledge each hold. Then a new master knows every hold.
fn is_acknowledged() -> bool {
    std::env::var_os("ARBITER_TEST_REPLICAS").is_some()
}

struct Worker {
    client: Client,
    leases: Vec<Duration>,
    folder: PathBuf,
    history: History,
    /// When the current request was first known to be queued; 0 if it is not yet.
    queued_ns: Arc<AtomicU64>,
}

impl Worker {
    /// Sends one request of a random kind, and works if it is granted.
    async fn turn(&self) -> bool {
        self.queued_ns.store(0, Ordering::Relaxed);
        let asked_ns = History::now_ns();
        let Ok(Some((guard, share))) = self.ask().await else {
            return false;
        };
        let begin_ns = History::now_ns();
        let deadline_ns = deadline_ns(&guard);
        if !guard.is_held() {
            return true; // stopped since: it was never valid
        }
        let hold = HoldInterval {
            name: guard.name().to_owned(),
            owner: std::process::id().to_string(),
            fence: guard.fence(),
            share,
            asked_ns: Some(asked_ns),
            queued_ns: Some(self.queued_ns.load(Ordering::Relaxed)).filter(|ns| 0 < *ns),
            begin_ns,
            end_ns: None,
        };
        self.history.record(&hold).expect("a line");
        let deadline_ns = if share == Share::Alone {
            self.count_up(&guard, deadline_ns).await.expect("a number")
        } else {
            work(&guard, deadline_ns).await
        };
        let end_ns = History::now_ns().min(deadline_ns);
        let HoldInterval {
            name, owner, fence, ..
        } = &hold;
        let end = self.history.end_at(name, owner, *fence, end_ns);
        end.expect("a line");
        if dice(2) == 0 {
            drop(guard);
        } else {
            let _ = guard.release().await;
        }
        true
    }

    async fn ask(&self) -> Result<Option<(Guard, Share)>, Error> {
        let lease = self.leases[rand::random_range(0..self.leases.len())];
        let lock = ["a", "b"][dice(2) as usize];
        let lock = self.client.lock(lock).lease_time(lease).wait_timeout(WAIT);
        let rw_lock = self.client.rw_lock("rw").lease_time(lease);
        let rw_lock = rw_lock.wait_timeout(WAIT);
        let semaphore = self.client.semaphore("permits", PERMITS);
        let semaphore = semaphore.lease_time(lease).wait_timeout(WAIT);
        let weight = 1 + dice(2);
        let [reader, part] = [(1, u64::MAX), (weight.into(), PERMITS.into())]
            .map(|(weight, limit)| Share::Part { weight, limit });
        let (guard, share) = match dice(9) {
            0..3 => (lock.acquire().await.map(Some), Share::Alone),
            3 => (lock.try_acquire().await, Share::Alone),
            4 => (rw_lock.write().await.map(Some), Share::Alone),
            5 => (rw_lock.read().await.map(Some), reader),
            6 => (rw_lock.try_read().await, reader),
            7 => (semaphore.acquire_many(weight).await.map(Some), part),
            _ => (semaphore.try_acquire_many(weight).await, part),
        };
        Ok(guard?.map(|guard| (guard, share)))
    }

    /// Increments both registers from their previous values, as the work of a hold. Returns the
    /// deadline.
    async fn count_up(&self, guard: &Guard, deadline_ns: u64) -> io::Result<u64> {
        let fence = guard.fence();
        let [fenced, unfenced] = ["fenced", "unfenced"]
            .map(|kind| Register(self.folder.join(format!("{kind}-{}", guard.name()))));
        let seen = [fenced.read(fence)?, unfenced.read(fence)?];
        let deadline_ns = work(guard, deadline_ns).await;
        // The hold is not checked again: the fence protects the register.
        fenced.write(seen[0], fence, true)?;
        unfenced.write(seen[1], fence, false)?;
        Ok(deadline_ns)
    }
}

/// Returns until when the hold is valid, if it is valid now.
fn deadline_ns(guard: &Guard) -> u64 {
    History::now_ns() + guard.remaining().as_nanos() as u64
}

/// Works for a while, or until the hold is lost. Returns the last deadline of the valid hold.
async fn work(guard: &Guard, mut known_ns: u64) -> u64 {
    let lasts = match dice(4) {
        0 => guard.remaining().mul_f64(1.2 * rand::random::<f64>()),
        _ => Duration::from_micros(rand::random::<u64>() % 20_000),
    };
    let end = tokio::time::Instant::now() + lasts;
    loop {
        let next_ns = deadline_ns(guard);
        if !guard.is_held() {
            break known_ns;
        }
        known_ns = next_ns;
        if end <= tokio::time::Instant::now() {
            break known_ns;
        }
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + TICK)).await;
    }
}

/// A number in a file, with the fence of its last writer, and the number of increments.
struct Register(PathBuf);

impl Register {
    fn read(&self, fence: u64) -> io::Result<u64> {
        self.change(|[number, last, writes]| ([number, last.max(fence), writes], number))
    }

    /// Increments the number that was read. A fenced register refuses a fence older than its last
    /// one.
    fn write(&self, seen: u64, fence: u64, is_fenced: bool) -> io::Result<()> {
        self.change(|[number, last, writes]| {
            if is_fenced && fence < last {
                ([number, last, writes], ())
            } else {
                ([seen + 1, last.max(fence), writes + 1], ())
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce([u64; 3]) -> ([u64; 3], T)) -> io::Result<T> {
        let lock = std::fs::File::create(self.0.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let mut numbers = [0; 3];
        for (number, word) in numbers.iter_mut().zip(text.split(' ')) {
            *number = word.parse().unwrap_or_default();
        }
        let (numbers, answer) = change(numbers);
        // A killed process leaves either the old file or the new one.
        let next = self.0.with_extension("next");
        std::fs::write(&next, numbers.map(|n| n.to_string()).join(" "))?;
        std::fs::rename(&next, &self.0)?;
        Ok(answer)
    }
}
