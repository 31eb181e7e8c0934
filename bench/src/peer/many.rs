//! Arbiter with many holds, waiters or names at once, for a measurement from another process.
//! Besides `cycles` and `crowd` of the participants it executes:
//!
//! - `hold COUNT`: takes that many more names, and keeps them: `held COUNT`, the total
//! - `least MS`: checks all holds for that long: `least MS`, the least that remained of any
//! - `wait COUNT`: that many tasks wait behind a holder of one name: `waiting COUNT`
//! - `tries COUNT`: tries that name that often: `tries P50_US`
//! - `drain`: the holder releases, and all waiters take their turn: `drained SECONDS`
//! - `names COUNT`: takes and frees that many names once: `used COUNT SECONDS`

use std::time::{Duration, Instant};

use arbiter_lock::Guard;
use tokio::task::JoinSet;

use lines::{Failure, Lock as _, crowd, cycles, lines, time};

use super::arbiter::{self, Arbiter};

const NAME: &str = "queue";
/// How many tasks take and free names at once.
const AT_ONCE: usize = 64;

#[derive(Default)]
struct Many {
    holds: Vec<Guard>,
    first: Option<Guard>,
    waiters: JoinSet<Result<(), Failure>>,
}

#[tokio::main]
pub(crate) async fn many(url: &str) -> Result<(), Failure> {
    let client = arbiter::connect(url).await?;
    let mut lines = lines();
    let mut many = Many::default();
    println!("ready many {}", env!("CARGO_PKG_VERSION"));
    while let Some(line) = lines.recv().await {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["cycles", tasks, ms] => cycles(client.clone(), tasks.parse()?, time(ms)?).await?,
            ["crowd", tasks, ms] => crowd(client.clone(), tasks.parse()?, time(ms)?).await?,
            ["hold", count] => many.hold(&client, count.parse()?).await?,
            ["least", ms] => println!("least {}", many.least(time(ms)?).await.as_millis()),
            ["wait", count] => many.wait(&client, count.parse()?).await?,
            ["tries", count] => tries(&client, count.parse()?).await?,
            ["drain"] => many.drain().await?,
            ["names", count] => names(&client, count.parse()?).await?,
            _ => return Err(format!("not understood: {line}").into()),
        }
    }
    std::process::exit(0)
}

impl Many {
    async fn hold(&mut self, client: &Arbiter, count: usize) -> Result<(), Failure> {
        let (mut tasks, before) = (JoinSet::new(), self.holds.len());
        for task in 0..AT_ONCE {
            let client = client.clone();
            tasks.spawn(async move {
                let mut holds = Vec::new();
                for n in (task..count).step_by(AT_ONCE) {
                    holds.push(client.acquire(&format!("held-{}", before + n)).await?);
                }
                Ok::<_, Failure>(holds)
            });
        }
        self.holds.reserve_exact(count);
        while let Some(holds) = tasks.join_next().await {
            self.holds.extend(holds??);
        }
        println!("held {}", self.holds.len());
        Ok(())
    }

    async fn least(&self, time: Duration) -> Duration {
        let (begun, mut least) = (Instant::now(), Duration::MAX);
        while begun.elapsed() < time {
            let now = self.holds.iter().map(|hold| hold.remaining()).min();
            least = least.min(now.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        least
    }

    async fn wait(&mut self, client: &Arbiter, count: u64) -> Result<(), Failure> {
        self.first = Some(client.acquire(NAME).await?);
        for _ in 0..count {
            let client = client.clone();
            self.waiters
                .spawn(async move { client.release(client.acquire(NAME).await?).await });
        }
        while client.lock(NAME).inspect().await?.waiting < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("waiting {count}");
        Ok(())
    }

    async fn drain(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        if let Some(first) = self.first.take() {
            first.release().await?;
        }
        while let Some(waiter) = self.waiters.join_next().await {
            waiter??;
        }
        println!("drained {:.6}", begun.elapsed().as_secs_f64());
        Ok(())
    }
}

async fn tries(client: &Arbiter, count: usize) -> Result<(), Failure> {
    let lock = client.lock(NAME);
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        if lock.try_acquire().await?.is_some() {
            return Err("the name that others wait for is free".into());
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let p50 = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("tries {:.1}", p50.as_secs_f64() * 1e6);
    Ok(())
}

async fn names(client: &Arbiter, count: usize) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..AT_ONCE {
        let client = client.clone();
        tasks.spawn(async move {
            for n in (task..count).step_by(AT_ONCE) {
                let held = client.acquire(&format!("once-{n}")).await?;
                client.release(held).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    println!("used {count} {:.6}", begun.elapsed().as_secs_f64());
    Ok(())
}
