//! The embedded store: two processes, a hand-off between them, a queue of ten thousand, a
//! million names, and the command against flock(1).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, NoopLogger};
use testkit::Folder;

use crate::Failure;
use crate::measure::{cycles_per_second, hand_off, median};

const TIME: Duration = Duration::from_millis(2_000);
const NAMES: u32 = 1_000_000;

/// The word by which the bench starts itself as a process that only makes cycles.
pub(crate) const WORD: &str = "--cycles";

/// What such a process does: it counts its cycles on a name for a while.
pub(crate) async fn cycles(url: &str, name: &str) -> Result<(), Failure> {
    let client = connect(url).await?;
    let lock = client.lock(name);
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < TIME {
        lock.acquire().await?.release().await?;
        count += 1;
    }
    println!("{count}");
    Ok(())
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let builder = Client::builder().store(url).logger(NoopLogger);
    Ok(builder.connect().await?)
}

pub(crate) async fn compare() -> Result<(), Failure> {
    let folder = Folder::new();
    let client = connect(&folder.url()).await?;
    println!("\nembedded store, cycles/s");
    let alone = cycles_per_second(1, TIME, &client).await?;
    println!("one process, one task: {alone:.0}");
    for names in [["a", "b"], ["c", "c"]] {
        let processes = names.map(|name| cycler(&folder.url(), name));
        let [a, b] = processes.map(|process| process.and_then(count));
        let (a, b) = (a?, b?);
        println!(
            "two processes on the names {names:?}: {:.0} together, {a:.0} and {b:.0}",
            a + b
        );
    }
    let mut times = hand_off(&client, 1_000).await?;
    times.sort_by(f64::total_cmp);
    println!(
        "hand-off to another task, µs: p50 {:.0}, p99 {:.0}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    deaths(&folder, &client).await?;
    queue(&client).await?;
    names(&folder, &client).await?;
    commands(&folder)
}

fn cycler(url: &str, name: &str) -> Result<Child, Failure> {
    let child = Command::new(std::env::current_exe()?)
        .args([WORD, url, name])
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn count(process: Child) -> Result<f64, Failure> {
    let output = process.wait_with_output()?;
    let count: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(count / TIME.as_secs_f64())
}

/// From the kill of a holder to the next one.
async fn deaths(folder: &Folder, client: &Client) -> Result<(), Failure> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let mut holder = cycler(&folder.url(), "dying")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let lock = client.lock("dying");
        let waiter = tokio::spawn(async move { lock.acquire().await.map(drop) });
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        holder.kill()?;
        waiter.await??;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        holder.wait()?;
    }
    times.sort_by(f64::total_cmp);
    println!(
        "kill -9 of a process that holds most of the time, to the next grant, ms: median {:.1}, worst {:.1}",
        times[10], times[19]
    );
    Ok(())
}

/// What a cycle costs beside a name with many waiters, and a look of the last of them.
async fn queue(client: &Client) -> Result<(), Failure> {
    for waiters in [1, 100, 10_000] {
        let name = format!("queue-{waiters}");
        let guard = client.lock(&name).acquire().await?;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..waiters {
            let lock = client.lock(&name);
            tasks.spawn(async move { lock.acquire().await.map(drop) });
        }
        while client.lock(&name).inspect().await?.waiting < waiters {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut tries = Vec::new();
        for _ in 0..300 {
            let begun = Instant::now();
            client.lock(&name).try_acquire().await?;
            tries.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        drop(guard);
        let begun = Instant::now();
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        println!(
            "{waiters} waiters: a busy try takes {:.0} µs, a hand-off with its release {:.0} µs",
            median(tries),
            begun.elapsed().as_secs_f64() * 1e6 / waiters as f64
        );
    }
    Ok(())
}

/// What many names used once leave.
async fn names(folder: &Folder, client: &Client) -> Result<(), Failure> {
    let (before, begun) = (resident(), Instant::now());
    for n in 0..NAMES {
        let guard = client.lock(&format!("name-{n}")).acquire().await?;
        guard.release().await?;
    }
    let rate = f64::from(NAMES) / begun.elapsed().as_secs_f64();
    println!(
        "{NAMES} names used once: {rate:.0} cycles/s, {} KiB more memory, {} KiB of files",
        resident().saturating_sub(before),
        size(folder.path()) / 1_024
    );
    tokio::time::sleep(Duration::from_secs(90)).await;
    println!("90 s later: {} KiB of files", size(folder.path()) / 1_024);
    Ok(())
}

/// KiB of memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

/// `arbiter run` against flock(1), around the same command.
fn commands(folder: &Folder) -> Result<(), Failure> {
    let arbiter = std::env::current_exe()?.with_file_name("arbiter");
    if !arbiter.exists() {
        println!(
            "arbiter against flock: left out, since {} is not built",
            arbiter.display()
        );
        return Ok(());
    }
    let file = folder.path().join("flock");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let mut run = Command::new(&arbiter);
        run.args(["run", "--store", &folder.url(), "job", "--", "true"]);
        ours.push(milliseconds(run)?);
        let mut flock = Command::new("flock");
        flock.arg(&file).arg("true");
        theirs.push(milliseconds(flock)?);
    }
    println!(
        "a command around `true`, ms: arbiter {:.1}, flock {:.1}",
        median(ours),
        median(theirs)
    );
    Ok(())
}

fn milliseconds(mut command: Command) -> Result<f64, Failure> {
    let begun = Instant::now();
    if !command.status()?.success() {
        return Err("the command failed".into());
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
