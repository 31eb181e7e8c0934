//! A lock: wait for it, try it, work under it, and see its holder.
//!
//! Run it with `cargo run -p arbiter-lock --example lock`. It uses the store that `ARBITER_STORE`
//! names, or one in memory.

use std::time::Duration;

use arbiter_lock::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::connect(&store).await?;
    let lock = client
        .lock("example:lock")
        .label("the example")
        .wait_timeout(Duration::from_millis(500));

    let guard = lock.acquire().await?;
    println!("acquired, fence {}", guard.fence());

    // A try does not wait.
    assert!(lock.try_acquire().await?.is_none());
    println!("a try finds it held");

    // A wait ends at its limit. The error has the holder.
    match lock.acquire().await {
        Err(Error::Contended(contended)) => println!("a wait ends: {contended}"),
        other => println!("unexpected: {other:?}"),
    }

    let status = lock.inspect().await?;
    if let Some(holder) = status.holder {
        println!("the store shows the holder {holder}");
    }

    // Release reports whether the lock was held until now.
    guard.release().await?;
    println!("released");

    // `run` acquires, works and releases. It drops the work if the lock is lost.
    let fence = lock.run(|hold| async move { hold.fence() }).await?;
    println!("worked under fence {fence}");
    client.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
