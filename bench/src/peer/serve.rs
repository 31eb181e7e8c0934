//! The lines of a participant are obeyed, each by a task of its own.

use std::collections::HashMap;
use std::process::exit;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::arbiter;
use super::bare::Bare;
use super::bare_scripts::BareScripts;
use super::lock::Lock;
use super::sqlite::Sqlite;
use super::turns::{crowd, cycles};
use super::worker::{Order, work};
use crate::Failure;

/// Obeys the lines of the standard input as the participant of that name.
pub(crate) fn peer(library: &str, url: &str) -> Result<(), Failure> {
    let runtime = match library.ends_with("current-thread") {
        true => Builder::new_current_thread().enable_all().build()?,
        false => Runtime::new()?,
    };
    let ours = env!("CARGO_PKG_VERSION");
    let redis = built_with("redis");
    runtime.block_on(async {
        match library {
            "arbiter" | "arbiter-current-thread" => {
                serve(library, ours, arbiter::connect(url).await?).await
            }
            "bare" => serve(library, redis, Bare::connect(url).await?).await,
            "bare-scripts" | "bare-scripts-current-thread" => {
                serve(library, redis, BareScripts::connect(url).await?).await
            }
            "sqlite" => serve(library, rusqlite::version(), Sqlite::open(url)?).await,
            _ => Err(format!("there is no participant {library}").into()),
        }
    })
}

async fn serve<L: Lock>(library: &str, version: &str, lock: L) -> Result<(), Failure> {
    let mut lines = lines();
    println!("ready {library} {version}");
    let mut workers = HashMap::new();
    while let Some(line) = lines.recv().await {
        let lock = lock.clone();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["crowd" | "acquire" | "release", ..] if !L::WAITS => {
                println!("unable it does not wait");
            }
            ["cycles", tasks, ms] => start(cycles(lock, tasks.parse()?, time(ms)?)),
            ["crowd", tasks, ms] => start(crowd(lock, tasks.parse()?, time(ms)?)),
            ["acquire", worker, name] => workers
                .entry(worker.to_owned())
                .or_insert_with(|| {
                    let (orders, heard) = unbounded_channel();
                    start(work(lock, worker.to_owned(), heard));
                    orders
                })
                .send(Order::Acquire(name.to_owned()))?,
            ["release", worker] => workers
                .get(worker)
                .ok_or("a worker that holds nothing is to release")?
                .send(Order::Release)?,
            _ => return Err(format!("not understood: {line}").into()),
        }
    }
    exit(0)
}

/// The lines of the standard input, read on a thread of their own: the runtime may have no other
/// than this one.
pub(super) fn lines() -> UnboundedReceiver<String> {
    let (heard, lines) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if heard.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Starts a task whose failure ends the program.
fn start(task: impl Future<Output = Result<(), Failure>> + Send + 'static) {
    tokio::spawn(async {
        if let Err(failure) = task.await {
            eprintln!("{failure}");
            exit(1);
        }
    });
}

pub(super) fn time(ms: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(ms.parse()?))
}

/// The version of a crate that this program was built with.
fn built_with(package: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    lock.split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("of unknown version")
}
