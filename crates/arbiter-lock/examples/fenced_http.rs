//! A service that refuses requests with an older fence.
//!
//! Run it with `cargo run -p arbiter-lock --example fenced_http`. It needs no server.
//!
//! A client sends its fence in the header `X-Fence`. The service stores the greatest that it has
//! seen with the data, under the same lock or transaction.

use std::error::Error;

use arbiter_lock::Client;

/// The data of the service.
#[derive(Default)]
struct Report {
    fence: u64,
    body: String,
}

impl Report {
    /// Handles `PUT /report`. Returns the status.
    fn put(&mut self, headers: &[(&str, String)], body: &str) -> u16 {
        let fence = headers.iter().find(|(name, _)| *name == "X-Fence");
        let Some(fence) = fence.and_then(|(_, fence)| fence.parse().ok()) else {
            return 428; // Precondition Required
        };
        if fence < self.fence {
            return 412; // Precondition Failed: a later holder has written
        }
        self.fence = fence;
        self.body = body.to_owned();
        204
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut report = Report::default();
    let lock = Client::in_memory().lock("report");
    let header = |fence: u64| [("X-Fence", fence.to_string())];

    let paused = lock.acquire().await?.fence(); // dropped: as if its lease had run out
    let guard = lock.acquire().await?;
    println!(
        "the holder: {}",
        report.put(&header(guard.fence()), "final")
    );
    println!("the paused one: {}", report.put(&header(paused), "late"));
    println!("without a fence: {}", report.put(&[], "unchecked"));
    println!("the service has: {}", report.body);
    guard.release().await?;
    Ok(())
}
