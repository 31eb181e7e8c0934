//! An election: a leader that hands off on SIGTERM, and a follower that takes its place.
//!
//! Run it with `cargo run -p arbiter-lock --example election`. It plays both parts on a store in
//! memory, and sends itself the signal.
//!
//! To see two processes, start this twice, and end the leader by Ctrl-C or `kill`:
//! `ARBITER_STORE=file:///tmp/arbiter-example cargo run -p arbiter-lock --features embedded --example election -- 10.0.0.7:8080`

use std::time::Duration;

use arbiter_lock::{Client, Error};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "memory:examples".into());
    if let Some(address) = std::env::args().nth(1) {
        return candidate(Client::connect(&store).await?, address).await;
    }
    let first = Client::connect(&store).await?;
    let leader = tokio::spawn(candidate(first.clone(), "node-1".into()));
    let election = first.election("example:scheduler");
    let mut observer = election.observe();
    // Skip a vacancy, and leaders of other runs.
    while observer
        .next()
        .await?
        .and_then(|leader| leader.value)
        .as_deref()
        != Some("node-1")
    {}

    let second = Client::connect(&store).await?;
    let next = tokio::spawn(async move {
        let leadership = second
            .election("example:scheduler")
            .campaign("node-2")
            .await?;
        println!("node-2 leads, fence {}", leadership.fence());
        leadership.resign().await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    println!("sending SIGTERM");
    let myself = rustix::process::getpid();
    let _ = rustix::process::kill_process(myself, rustix::process::Signal::TERM);
    leader.await.expect("no panic")?;
    next.await.expect("no panic")
}

/// Campaigns, leads until a signal, and resigns, so that the next candidate leads at once.
async fn candidate(client: Client, address: String) -> Result<(), Error> {
    let terminated = termination();
    tokio::pin!(terminated);
    let election = client.election("example:scheduler");
    let leadership = tokio::select! {
        leadership = election.campaign(&address) => leadership?,
        () = &mut terminated => return Ok(()), // it has left the queue
    };
    println!("{address} leads, fence {}", leadership.fence());
    let ended = tokio::select! {
        // Stop at once: another leads soon.
        reason = leadership.lost() => { println!("{address} lost the leadership: {reason}"); Ok(()) }
        () = &mut terminated => {
            println!("{address} resigns");
            leadership.resign().await
        }
    };
    client.shutdown(Duration::from_secs(5)).await;
    ended
}

/// Waits for SIGTERM or Ctrl-C. From this call on, neither ends the process.
fn termination() -> impl Future<Output = ()> {
    let mut term = signal(SignalKind::terminate()).expect("a handler");
    let mut int = signal(SignalKind::interrupt()).expect("a handler");
    async move {
        tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
    }
}
