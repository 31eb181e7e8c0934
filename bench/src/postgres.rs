//! Arbiter on PostgreSQL beside features of the database itself: row updates and advisory locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, NoopLogger};
use testkit::Postgres;
use tokio_postgres::NoTls;

use crate::Failure;

/// How long each measurement lasts.
const TIME: Duration = Duration::from_millis(1_500);
/// How often all are repeated, in turn.
const ROUNDS: usize = 5;
/// How many connections the advisory locks are spread over.
const CONNECTIONS: usize = 16;
const HAND_OFFS: usize = 200;

/// Measures with and without waits for the disk; prints medians of the rounds.
pub(crate) fn postgres() -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()?;
    for fsync in ["on", "off"] {
        let server = Postgres::builder().setting("fsync", fsync).start();
        let _ = server.sql("CREATE TABLE bare (id int PRIMARY KEY, n int) WITH (fillfactor = 50)");
        let _ = server.sql("INSERT INTO bare SELECT i, 0 FROM generate_series(0, 99) i");
        let mut figures: Vec<(&str, Vec<f64>)> = Vec::new();
        for _ in 0..ROUNDS {
            let round = runtime.block_on(round(&server))?;
            for (name, value) in round {
                match figures.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, values)) => values.push(value),
                    None => figures.push((name, vec![value])),
                }
            }
        }
        println!("fsync={fsync}");
        for (name, mut values) in figures {
            values.sort_by(f64::total_cmp);
            let (least, most) = (values[0], values[values.len() - 1]);
            let median = values[values.len() / 2];
            println!("  {name:<44} {median:>10.2}   ({least:.2} to {most:.2})");
        }
    }
    Ok(())
}

type Round = Vec<(&'static str, f64)>;

async fn round(server: &Postgres) -> Result<Round, Failure> {
    let url = server.url();
    let client = Client::builder().store(&url).logger(NoopLogger);
    let client = client.connect().await?;
    let commits = updates(&url, 1).await?;
    let one = cycles(&client, 1, None).await?;
    let many = cycles(&client, 64, None).await?;
    let advisory_one = advisory_cycles(&url, 1).await?;
    let advisory = advisory_cycles(&url, 64).await?;
    let contended = cycles(&client, 16, Some("hot")).await?;
    let (p50, p99) = hand_offs(&url).await?;
    let (advisory_p50, advisory_p99) = advisory_hand_offs(&url).await?;
    let beside_none = updates(&url, 16).await?;
    let beside = updates_beside_hand_offs(&url).await?;
    Ok(vec![
        ("a bare commit, ms", 1e3 / commits),
        ("1 task, cycles/s", one),
        (
            "1 task, time of a cycle / two bare commits",
            (1.0 / one) / (2.0 / commits),
        ),
        ("64 tasks, cycles/s", many),
        ("1 task, advisory cycles/s", advisory_one),
        ("64 tasks on 16 connections, advisory cycles/s", advisory),
        ("64 tasks / advisory", many / advisory),
        ("16 tasks on one name, cycles/s", contended),
        ("hand-off between clients, p50 ms", p50),
        ("hand-off between clients, p99 ms", p99),
        ("advisory hand-off, p50 ms", advisory_p50),
        ("advisory hand-off, p99 ms", advisory_p99),
        ("hand-off p50 / advisory", p50 / advisory_p50),
        ("commits/s of 16 writers", beside_none),
        (
            "commits/s of others beside 100 hand-offs/s / alone",
            beside / beside_none,
        ),
    ])
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Returns how many single rows a number of connections update in a second.
async fn updates(url: &str, connections: usize) -> Result<f64, Failure> {
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..connections {
        let (client, count) = (connect(url).await?, count.clone());
        tasks.push(tokio::spawn(async move {
            let update = format!("UPDATE bare SET n = n + 1 WHERE id = {n}");
            let update = client.prepare(&update).await?;
            while begun.elapsed() < TIME {
                client.execute(&update, &[]).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// Returns how often tasks acquire and release in a second, each its own name or all the same.
async fn cycles(client: &Client, tasks: usize, name: Option<&'static str>) -> Result<f64, Failure> {
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut running = Vec::new();
    for n in 0..tasks {
        let name = name.map_or_else(|| format!("own-{n}"), str::to_owned);
        let (lock, count) = (client.lock(&name), count.clone());
        running.push(tokio::spawn(async move {
            while begun.elapsed() < TIME {
                lock.acquire().await?.release().await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        }));
    }
    for task in running {
        task.await??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// Returns how often tasks lock and unlock advisory locks in a second.
async fn advisory_cycles(url: &str, tasks: usize) -> Result<f64, Failure> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS.min(tasks) {
        let client = connect(url).await?;
        let lock = client.prepare("SELECT pg_advisory_lock($1)").await?;
        let unlock = client.prepare("SELECT pg_advisory_unlock($1)").await?;
        // A session is used by one task at a time, as those of a pool are.
        clients.push(Arc::new(tokio::sync::Mutex::new((client, lock, unlock))));
    }
    let count = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut running = Vec::new();
    for n in 0..tasks {
        let (client, count) = (clients[n % clients.len()].clone(), count.clone());
        running.push(tokio::spawn(async move {
            let key = i64::try_from(n)?;
            while begun.elapsed() < TIME {
                let (client, lock, unlock) = &*client.lock().await;
                client.execute(lock, &[&key]).await?;
                client.execute(unlock, &[&key]).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        }));
    }
    for task in running {
        task.await??;
    }
    Ok(count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

fn percentiles(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Returns how long it takes from a release of one client to the return of another's acquire.
async fn hand_offs(url: &str) -> Result<(f64, f64), Failure> {
    let mut clients = Vec::new();
    for _ in 0..2 {
        let builder = Client::builder().store(url).logger(NoopLogger);
        clients.push(builder.connect().await?);
    }
    let mut guard = clients[0].lock("handed").acquire().await?;
    let mut times = Vec::new();
    for n in 0..HAND_OFFS {
        let lock = clients[(n + 1) % 2].lock("handed");
        let waiter = tokio::spawn(async move {
            let guard = lock.acquire().await?;
            Ok::<_, Failure>((guard, Instant::now()))
        });
        while clients[0].lock("handed").inspect().await?.waiting == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        let released = tokio::spawn(async move { guard.release().await });
        let (next, at) = waiter.await??;
        released.await??;
        times.push((at - begun).as_secs_f64() * 1e3);
        guard = next;
    }
    Ok(percentiles(times))
}

async fn advisory_hand_offs(url: &str) -> Result<(f64, f64), Failure> {
    let clients = [Arc::new(connect(url).await?), Arc::new(connect(url).await?)];
    clients[0]
        .execute("SELECT pg_advisory_lock(-1)", &[])
        .await?;
    let mut times = Vec::new();
    for n in 0..HAND_OFFS {
        let (holder, waiter) = (&clients[n % 2], clients[(n + 1) % 2].clone());
        let waiting = tokio::spawn(async move {
            waiter.execute("SELECT pg_advisory_lock(-1)", &[]).await?;
            Ok::<_, Failure>(Instant::now())
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        holder.execute("SELECT pg_advisory_unlock(-1)", &[]).await?;
        times.push((waiting.await?? - begun).as_secs_f64() * 1e3);
    }
    Ok(percentiles(times))
}

/// Returns the commits of 16 other writers in a second, while locks are handed off.
async fn updates_beside_hand_offs(url: &str) -> Result<f64, Failure> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let builder = Client::builder().store(url).logger(NoopLogger);
        let (client, is_over) = (builder.connect().await?, is_over.clone());
        tasks.push(tokio::spawn(async move {
            let lock = client.lock("beside");
            while !is_over.load(Ordering::Relaxed) {
                let guard = lock.acquire().await?;
                tokio::time::sleep(Duration::from_millis(8)).await;
                guard.release().await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    let commits = updates(url, 16).await?;
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await??;
    }
    Ok(commits)
}
