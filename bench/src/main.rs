//! Arbiter side by side with bare commands, in one run on one server: only the ratios count.
//!
//! `cargo run --release -p bench`, or with `-- servers` or `-- embedded` a part of it. The command
//! is measured where `cargo build --release -p arbiter-lock-cli` has built it.

mod bare;
mod embedded;
mod measure;
mod server_time;

use std::time::Duration;

use arbiter_lock::{Client, NoopLogger};
use testkit::Server;

use bare::Bare;
use measure::{cycles_per_second, hand_off, median};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_millis(1_500);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            servers().await?;
            embedded::compare().await
        }
        ["servers"] => servers().await,
        ["embedded"] => embedded::compare().await,
        [embedded::WORD, url, name] => embedded::cycles(url, name).await,
        _ => Err("usage: bench [servers | embedded]".into()),
    }
}

async fn servers() -> Result<(), Failure> {
    let server = Server::start();
    let client = Client::builder()
        .store(&server.url())
        .logger(NoopLogger)
        .connect()
        .await?;
    let bare = Bare::connect(&server.url()).await?;

    println!(
        "cycles/s, every task on a name of its own; the floor is SET NX and a compare-and-delete"
    );
    println!(
        "{:>6} {:>10} {:>10} {:>6}",
        "tasks", "arbiter", "bare", "ratio"
    );
    for tasks in [1, 16, 64, 256] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(cycles_per_second(tasks, TIME, &client).await?);
            floor.push(cycles_per_second(tasks, TIME, &bare).await?);
        }
        let (ours, floor) = (median(ours), median(floor));
        println!(
            "{tasks:>6} {ours:>10.0} {floor:>10.0} {:>6.2}",
            ours / floor
        );
    }

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.extend(hand_off(&client, 300).await?);
    }
    times.sort_by(f64::total_cmp);
    let round_trip = bare.round_trip(1_000).await?;
    let at = |part: f64| times[(times.len() as f64 * part) as usize];
    println!(
        "\nhand-off to another task, µs: p50 {:.0}, p99 {:.0}; a bare round trip {round_trip:.0}",
        at(0.5),
        at(0.99)
    );

    server_time::compare(&server, &client).await
}
