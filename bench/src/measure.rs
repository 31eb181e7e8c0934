//! Cycles in a second, and the time of a hand-off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::Failure;

/// Something that takes and frees a lock.
pub(crate) trait Cycle: Clone + Send + Sync + 'static {
    /// Takes and frees the lock of that name.
    fn cycle(&self, name: &str) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl Cycle for Client {
    async fn cycle(&self, name: &str) -> Result<(), Failure> {
        Ok(self.lock(name).acquire().await?.release().await?)
    }
}

/// How many cycles so many tasks make together in a second, each on a name of its own.
pub(crate) async fn cycles_per_second(
    tasks: usize,
    time: Duration,
    lock: &impl Cycle,
) -> Result<f64, Failure> {
    let count = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (lock, count) = (lock.clone(), count.clone());
        running.spawn(async move {
            let name = format!("name-{task}");
            while begun.elapsed() < time {
                lock.cycle(&name).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// Microseconds from the call of release to another task that runs under the lock.
pub(crate) async fn hand_off(client: &Client, times: usize) -> Result<Vec<f64>, Failure> {
    let lock = client.lock("hand-off");
    let mut measured = Vec::new();
    for _ in 0..times {
        let guard = lock.acquire().await?;
        let queued = Arc::new(Notify::new());
        let waiter = tokio::spawn({
            let (lock, queued) = (lock.clone(), queued.clone());
            async move {
                queued.notify_one();
                let guard = lock.acquire().await?;
                let granted = Instant::now();
                guard.release().await?;
                Ok::<Instant, Failure>(granted)
            }
        });
        queued.notified().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let released = Instant::now();
        guard.release().await?;
        measured.push((waiter.await?? - released).as_secs_f64() * 1e6);
    }
    Ok(measured)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
