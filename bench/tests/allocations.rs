//! How often a cycle allocates: a count that hardly varies, so that no slowdown goes unnoticed.

use std::alloc::System;

use arbiter_lock::{Client, Error, NoopLogger};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use testkit::Server;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CYCLES: usize = 1_000;

async fn allocations_per_cycle(store: &str) -> Result<f64, Error> {
    let builder = Client::builder().store(store).logger(NoopLogger);
    let lock = builder.connect().await?.lock("name");
    for _ in 0..CYCLES {
        lock.acquire().await?.release().await?;
    }
    let region = Region::new(ALLOCATOR);
    for _ in 0..CYCLES {
        lock.acquire().await?.release().await?;
    }
    let change = region.change();
    Ok((change.allocations + change.reallocations) as f64 / CYCLES as f64)
}

/// One test, since it counts the allocations of the whole process.
#[test]
fn cycle_allocations_stay_bounded() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::start();
        let on_redis = allocations_per_cycle(&server.url()).await.unwrap();
        let in_memory = allocations_per_cycle("memory:").await.unwrap();
        println!("{on_redis:.1} on Redis, {in_memory:.1} in memory");
        assert!(on_redis < 33.0, "{on_redis} on Redis");
        assert!(in_memory < 11.0, "{in_memory} in memory");
    });
}
