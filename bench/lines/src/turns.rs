//! Many tasks take and free locks for a while.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{Failure, Lock};

/// The counts of one task.
#[derive(Default)]
struct Turns {
    cycles: Vec<Duration>,
    worst_acquire: Duration,
}

/// Takes and frees locks in that many tasks, each on its own name. Prints how many cycles they
/// made, and how long one took.
///
/// # Errors
/// Those of the lock.
pub async fn cycles<L: Lock>(lock: L, tasks: usize, time: Duration) -> Result<(), Failure> {
    let names = (0..tasks).map(|task| format!("name-{task}"));
    let (seconds, turns) = together(lock, names, time).await?;
    let mut times: Vec<_> = turns.into_iter().flat_map(|task| task.cycles).collect();
    times.sort_unstable();
    let micros = |part: f64| {
        let at = (times.len() as f64 * part) as usize;
        times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    println!(
        "cycles {} {seconds:.6} {:.1} {:.1}",
        times.len(),
        micros(0.5),
        micros(0.99)
    );
    Ok(())
}

/// Takes and frees one lock in that many tasks. Prints the longest wait, and the cycles of each
/// task.
///
/// # Errors
/// Those of the lock.
pub async fn crowd<L: Lock>(lock: L, tasks: usize, time: Duration) -> Result<(), Failure> {
    let names = (0..tasks).map(|_| "crowd".to_owned());
    let (seconds, turns) = together(lock, names, time).await?;
    let worst = turns.iter().map(|task| task.worst_acquire).max();
    let worst = worst.unwrap_or_default().as_secs_f64() * 1e3;
    let counts = turns.iter().map(|task| format!(" {}", task.cycles.len()));
    println!(
        "crowd {seconds:.6} {worst:.3}{}",
        counts.collect::<String>()
    );
    Ok(())
}

async fn together<L: Lock>(
    lock: L,
    names: impl Iterator<Item = String>,
    time: Duration,
) -> Result<(f64, Vec<Turns>), Failure> {
    let begun = Instant::now();
    let tasks = names.map(|name| turns(lock.clone(), name, begun + time));
    let mut running: JoinSet<_> = tasks.collect();
    let mut done = Vec::new();
    while let Some(task) = running.join_next().await {
        done.push(task??);
    }
    Ok((begun.elapsed().as_secs_f64(), done))
}

async fn turns<L: Lock>(lock: L, name: String, until: Instant) -> Result<Turns, Failure> {
    let mut turns = Turns::default();
    let mut begun = Instant::now();
    while begun < until {
        let held = lock.acquire(&name).await?;
        turns.worst_acquire = turns.worst_acquire.max(begun.elapsed());
        lock.release(held).await?;
        turns.cycles.push(begun.elapsed());
        begun = Instant::now();
    }
    Ok(turns)
}
