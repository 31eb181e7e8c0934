//! A test of a program's own reaction to a lost lock, without a server and without waiting.
//!
//! Run it with `cargo test -p arbiter-lock --features testing --example lost_lock`, or with
//! `cargo run` in place of `cargo test`, to see its output.

use std::time::Duration;

use arbiter_lock::{Client, Error};

/// Imports rows in steps, and stops at the first step after a loss. This is the code under test.
async fn import(client: &Client, imported: &mut u32) -> Result<(), Error> {
    let guard = client.lock("import").acquire().await?;
    for _ in 0..10 {
        // Dropped at its next `.await` if the lock is lost.
        guard.protect(import_a_row()).await?;
        *imported += 1;
    }
    guard.release().await
}

async fn import_a_row() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// Lets the store fall silent after 35 s. The lease of 30 s, renewed every 10 s, then ends.
async fn import_with_an_outage() -> (Result<(), Error>, u32) {
    let client = Client::in_memory();
    let outage = async {
        tokio::time::sleep(Duration::from_secs(35)).await;
        client.testing().go_silent();
    };
    let mut imported = 0;
    let (done, ()) = tokio::join!(import(&client, &mut imported), outage);
    (done, imported)
}

// Time is paused: it jumps to the next timer as soon as no task can run.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let (done, imported) = import_with_an_outage().await;
    println!("imported {imported} of 10 rows: {done:?}");
    if let Err(error) = done {
        println!("the error for people: {error}");
    }
}

#[cfg(test)]
mod tests {
    use arbiter_lock::LostReason;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn import_stops_at_a_loss() {
        let (done, imported) = import_with_an_outage().await;
        let Err(Error::Lost(loss)) = done else {
            panic!("not a loss: {done:?}");
        };
        assert_eq!(loss.reason, LostReason::Unreachable);
        assert_eq!(
            imported, 5,
            "the lease lasted for 29 s after the renewal at 30 s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn import_stops_if_an_operator_asks() {
        let client = Client::in_memory();
        let mut imported = 0;
        let operator = async {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let lock = client.lock("import");
            let holder = lock.inspect().await.expect("an answer").holder;
            let fence = holder.and_then(|holder| holder.fence).expect("a holder");
            lock.ask_to_stop(fence).await.expect("an answer");
        };
        let (done, _) = tokio::join!(import(&client, &mut imported), operator);
        assert!(done.is_err_and(|error| error.is_lost()));
        assert!(imported < 10);
    }
}
