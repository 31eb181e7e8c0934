//! A periodic job on several machines: one of them runs it, and the others skip it.
//!
//! Run it with `cargo run -p arbiter-lock --example once`. It uses the store that `ARBITER_STORE`
//! names, or one in memory. Called from each machine's cron, it needs nothing else.

use std::io;
use std::time::Duration;

use arbiter_lock::{Client, Error, Outcome};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    let client = Client::connect(&store).await?;
    let invoices = client
        .once("example:invoices")
        .every(Duration::from_secs(3_600))
        .repeat_failed(true); // a failed run does not count
    for machine in ["web-1", "web-2"] {
        let job = invoices.clone().label(machine);
        match job.run(|hold| send_invoices(machine, hold.fence())).await? {
            Outcome::Ran(Ok(sent)) => println!("{machine} sent {sent} invoices"),
            Outcome::Ran(Err(error)) => println!("{machine} failed: {error}"),
            Outcome::Skipped(skip) => println!("{machine} skips: {skip}"),
        }
    }
    client.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

async fn send_invoices(machine: &str, fence: u64) -> io::Result<u32> {
    println!("{machine} runs the job, fence {fence}");
    Ok(12)
}
