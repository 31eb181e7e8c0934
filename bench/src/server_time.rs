//! What a cycle costs the server, in its own count of microseconds in commands: ours against
//! the Go library's two scripts, and a release with many waiters against one.

use std::time::Duration;

use arbiter_lock::Client;
use testkit::{GoLock, Server};

use crate::Failure;

const CYCLES: u32 = 2_000;

pub(crate) async fn compare(server: &Server, client: &Client) -> Result<(), Failure> {
    let lock = client.lock("server-time");
    reset(server);
    for _ in 0..CYCLES {
        lock.acquire().await?.release().await?;
    }
    let ours = micros(server);
    reset(server);
    let go = GoLock::new(server, "server-time", Duration::from_secs(30));
    for _ in 0..CYCLES {
        if !(go.try_lock() && go.unlock()) {
            return Err("the Go library's lock is not free".into());
        }
    }
    let theirs = micros(server);
    let each = |total: f64| total / f64::from(CYCLES);
    println!(
        "\nserver time of a cycle, µs in commands: ours {:.1}, the Go library's {:.1}, ratio {:.2}",
        each(ours),
        each(theirs),
        ours / theirs
    );
    for waiters in [1, 100, 10_000] {
        println!(
            "server time of a release with {waiters} waiters: {:.1} µs",
            release(server, client, waiters).await?
        );
    }
    Ok(())
}

async fn release(server: &Server, client: &Client, waiters: usize) -> Result<f64, Failure> {
    let lock = client.lock("crowd");
    let guard = lock.acquire().await?;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..waiters {
        let lock = lock.clone();
        crowd.spawn(async move { lock.acquire().await });
    }
    while lock.inspect().await?.waiting < waiters as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = micros(server);
    guard.release().await?;
    let after = micros(server);
    crowd.abort_all();
    while crowd.join_next().await.is_some() {}
    Ok(after - before)
}

fn reset(server: &Server) {
    server.call(&["CONFIG", "RESETSTAT"]);
}

/// Microseconds in scripts.
fn micros(server: &Server) -> f64 {
    let stats = server
        .call(&["INFO", "commandstats"])
        .text()
        .unwrap_or_default();
    let usec = |line: &str| {
        let (_, rest) = line.strip_prefix("cmdstat_eval")?.split_once("usec=")?;
        rest.split(',').next()?.parse::<f64>().ok()
    };
    stats.lines().filter_map(usec).sum()
}
