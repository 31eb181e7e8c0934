//! A helper of the tests, not an example: a process that reads commands on stdin and reports results
//! on stdout. Usage: `child_process URL NAME LEASE_MS`.
//!
//! - `hold`: acquires, and prints `held FENCE`
//! - `read`, `permits LIMIT N`: like `hold`, but shared, beside the current hold
//! - `queue N`: N tasks acquire, hold for a millisecond and release; each prints `held FENCE`
//! - `work HISTORY`: acquires and releases forever, and records its holds in the file
//! - `share N`: N tasks as in `queue`, each in a loop
//! - `status`: prints `is_held … lost …`, each polled once
//! - `release`: prints `released`, or `lost REASON`
//! - `end`: drops everything and returns from `main`
//!
//! It also prints why it cannot connect, and `noticed late: …` for that event.

use std::io::BufRead as _;
use std::time::Duration;

use arbiter_lock::{Client, Error, Event, Guard, Lock};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let mut arg = || args.next().unwrap_or_default();
    let logger = |event: &Event| {
        if matches!(event, Event::NoticedLate { .. }) {
            println!("noticed late: {event}");
        }
    };
    let client = Client::builder().store(&arg()).logger(logger);
    let client = match client.connect().await {
        Err(error) => {
            println!("{error}");
            return Err(error);
        }
        Ok(client) => client,
    };
    let name = arg();
    let lease = Duration::from_millis(arg().parse().unwrap_or(30_000));
    let lock = client.lock(&name).lease_time(lease);
    let readers = client.rw_lock(&name).lease_time(lease);
    let permits = |limit: &str| {
        let (limit, weight) = limit.split_once(' ').unwrap_or((limit, "1"));
        let limit = limit.parse().unwrap_or(1);
        let semaphore = client.semaphore(&name, limit).lease_time(lease);
        let weight = weight.parse().unwrap_or(1);
        async move { semaphore.acquire_many(weight).await }
    };
    let (lines, mut commands) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    println!("ready");
    let (mut guard, mut others) = (None, Vec::new());
    while let Some(line) = commands.recv().await {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("hold", _) => guard = Some(hold(lock.acquire()).await?),
            ("read", _) => others.extend(guard.replace(hold(readers.read()).await?)),
            ("permits", of) => others.extend(guard.replace(hold(permits(of)).await?)),
            ("queue", n) => (0..n.parse().unwrap_or(1)).for_each(|_| queue(lock.clone())),
            ("share", n) => (0..n.parse().unwrap_or(1)).for_each(|_| share(lock.clone())),
            ("work", path) => work(&lock, path).await?,
            ("status", _) => status(guard.as_ref()),
            ("release", _) => release(guard.take()).await,
            _ => break,
        }
    }
    Ok(())
}

async fn hold(acquired: impl Future<Output = Result<Guard, Error>>) -> Result<Guard, Error> {
    let guard = acquired.await?;
    println!("held {}", guard.fence());
    Ok(guard)
}

fn queue(lock: Lock) {
    tokio::spawn(async move {
        let Ok(guard) = lock.acquire().await else {
            return;
        };
        println!("held {}", guard.fence());
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(guard);
    });
}

fn share(lock: Lock) {
    tokio::spawn(async move {
        while let Ok(guard) = lock.acquire().await {
            println!("held {}", guard.fence());
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(guard);
        }
    });
}

/// Runs until the process is killed.
async fn work(lock: &Lock, path: &str) -> Result<(), Error> {
    let history = testkit::History::open(path.as_ref()).expect("a history");
    let owner = std::process::id().to_string();
    loop {
        let guard = lock.acquire().await?;
        let (name, fence) = (guard.name().to_owned(), guard.fence());
        history.begin(&name, &owner, fence).expect("a line");
        tokio::time::sleep(Duration::from_micros(rand::random::<u64>() % 3_000)).await;
        history.end(&name, &owner, fence).expect("a line");
        if rand::random() {
            drop(guard);
        } else if let Err(error) = guard.release().await {
            println!("{error}");
        }
    }
}

fn status(guard: Option<&Guard>) {
    let Some(guard) = guard else {
        return println!("no guard");
    };
    let is_held = guard.is_held();
    let mut lost = std::pin::pin!(guard.lost());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    println!(
        "is_held {is_held} lost {:?}",
        lost.as_mut().poll(&mut context)
    );
}

async fn release(guard: Option<Guard>) {
    let Some(guard) = guard else {
        return println!("no guard");
    };
    match guard.release().await {
        Ok(()) => println!("released"),
        Err(Error::Lost(loss)) => println!("lost {:?}", loss.reason),
        Err(error) => println!("{error}"),
    }
}
