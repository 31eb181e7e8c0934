//! A semaphore: five workers share two licenses.
//!
//! Run it with `cargo run -p arbiter-lock --example semaphore`. It uses the store that
//! `ARBITER_STORE` names, or one in memory.

use std::time::Duration;

use arbiter_lock::{Client, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::connect(&store).await?;
    let licenses = client.semaphore("example:licenses", 2);

    let workers = (1..=5).map(|worker| {
        let licenses = licenses.clone();
        tokio::spawn(async move {
            let license = licenses.acquire().await?;
            let sharing = licenses.inspect().await?.sharing;
            let (held, limit) = sharing.map_or((0, None), |all| (all.weight, all.limit));
            println!("worker {worker} has a license; {held} of {limit:?} are held");
            tokio::time::sleep(Duration::from_millis(20)).await;
            license.release().await
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no worker panics")?;
    }

    let both = licenses.acquire_many(2).await?;
    println!("both licenses at once");
    println!("raised the limit from {:?} to 3", licenses.resize(3).await?);
    both.release().await?;
    client.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
