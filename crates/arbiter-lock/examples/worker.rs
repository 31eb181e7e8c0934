//! A process that takes and leaves locks for ever, and writes down what it believes, while a test
//! kills it, stops it, and cuts it off. Usage: `worker URL FOLDER`.
//!
//! Under each of a few names it adds one to a number in two registers: one that refuses an older
//! fence, and one that takes whatever it is given. Work may last longer than a lease.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arbiter_lock::{Client, Guard, NoopLogger};
use rustix::fs::{FlockOperation, flock};
use testkit::History;

const NAMES: [&str; 3] = ["a", "b", "c"];
const LEASES_MS: [u64; 3] = [500, 1_000, 2_000];
const TICK: Duration = Duration::from_millis(5);

fn dice(sides: usize) -> usize {
    rand::random::<u32>() as usize % sides
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_default();
    let folder = PathBuf::from(args.next().unwrap_or_default());
    let history = History::open(&folder.join("history")).expect("a history");
    let client = loop {
        let builder = Client::builder().store(&url).logger(NoopLogger);
        match builder.connect().await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(TICK).await,
        }
    };
    println!("ready");
    loop {
        let lock = client
            .lock(NAMES[dice(NAMES.len())])
            .lease_time(Duration::from_millis(LEASES_MS[dice(LEASES_MS.len())]))
            .wait_timeout(Duration::from_secs(5));
        match lock.acquire().await {
            Ok(guard) => work(guard, &history, &folder).await,
            Err(_) => tokio::time::sleep(TICK).await,
        }
    }
}

async fn work(guard: Guard, history: &History, folder: &Path) {
    let owner = std::process::id().to_string();
    let (name, fence) = (guard.name().to_owned(), guard.fence());
    history.begin(&name, &owner, fence).expect("a line");
    let registers = [
        Register::new(folder, "fenced", &name),
        Register::new(folder, "unfenced", &name),
    ];
    let seen = registers
        .each_ref()
        .map(|register| register.read(fence).expect("a number"));
    let lasts = match dice(4) {
        0 => guard.remaining().mul_f64(1.2 * rand::random::<f64>()),
        _ => Duration::from_micros(rand::random::<u64>() % 20_000),
    };
    let end = tokio::time::Instant::now() + lasts;
    let deadline = loop {
        let deadline = History::now_ns() + guard.remaining().as_nanos() as u64;
        if end <= tokio::time::Instant::now() || !guard.is_held() {
            break deadline;
        }
        tokio::time::sleep_until(end.min(tokio::time::Instant::now() + TICK)).await;
        if !guard.is_held() {
            break deadline;
        }
    };
    // Not asked once more whether it is held: that is what a fence is for.
    let [fenced, unfenced] = &registers;
    fenced.write(seen[0], fence, true).expect("a number");
    unfenced.write(seen[1], fence, false).expect("a number");
    let end = History::now_ns().min(deadline);
    history.end_at(&name, &owner, fence, end).expect("a line");
    if dice(2) == 0 {
        drop(guard);
    } else {
        let _ = guard.release().await;
    }
}

/// A number in a file, with the fence of its last user, and how often it was counted up.
struct Register(PathBuf);

impl Register {
    fn new(folder: &Path, kind: &str, name: &str) -> Self {
        Self(folder.join(format!("{kind}-{name}")))
    }

    fn read(&self, fence: u64) -> io::Result<u64> {
        self.change(|[number, last, writes]| ([number, last.max(fence), writes], number))
    }

    /// Counts up from what was read; one that is fenced refuses whoever is older than its last user.
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
        // A killed process leaves the file as it was, or as it will be.
        let next = self.0.with_extension("next");
        std::fs::write(&next, numbers.map(|n| n.to_string()).join(" "))?;
        std::fs::rename(&next, &self.0)?;
        Ok(answer)
    }
}
