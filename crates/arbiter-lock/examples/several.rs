//! Several names at once: two transfers between the same accounts, in opposite directions.
//!
//! Run it with `cargo run -p arbiter-lock --example several`. It uses the store that `ARBITER_STORE`
//! names, or one in memory.

use std::time::Duration;

use arbiter_lock::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::connect(&store).await?;

    // Nested acquires in opposite orders could deadlock. `lock_all` sorts the names.
    let (one, other) = tokio::join!(
        transfer(&client, "account:3", "account:7"),
        transfer(&client, "account:7", "account:3"),
    );
    one?;
    other?;
    client.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn transfer(client: &Client, from: &str, to: &str) -> Result<(), Error> {
    let accounts = client
        .lock_all([from, to])
        .wait_timeout(Duration::from_secs(5));
    let both = accounts.acquire().await?;
    let fences = (both.fence(from), both.fence(to));
    println!("from {from} to {to}, under the fences {fences:?}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    both.release().await
}
