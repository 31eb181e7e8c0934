//! A reader-writer lock: readers together, a writer alone, and a downgrade without a gap.
//!
//! Run it with `cargo run -p arbiter-lock --example rw_lock`. It uses the store that `ARBITER_STORE`
//! names, or one in memory.

use std::time::Duration;

use arbiter_lock::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::connect(&store).await?;
    let index = client
        .rw_lock("example:index")
        .wait_timeout(Duration::from_secs(5));

    let (one, other) = (index.read().await?, index.read().await?);
    println!("two readers at a time");
    assert!(index.try_write().await?.is_none());
    println!("no writer beside them");
    one.release().await?;
    other.release().await?;

    let writer = index.write().await?;
    println!("a writer alone, fence {}", writer.fence());
    writer.downgrade().await?;
    let reader = index.read().await?;
    println!("it reads now, beside another reader");
    reader.release().await?;
    writer.release().await?;
    println!("released");
    client.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
