//! Executes the lines for a participant, each in a task of its own.

use std::collections::HashMap;
use std::process::exit;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::turns::{crowd, cycles};
use crate::worker::{Order, work};
use crate::{Failure, Lock};

/// Reports that it is ready, and executes lines until the standard input ends. Running tasks end
/// with it.
///
/// # Errors
/// A line that it does not understand.
pub async fn serve<L: Lock>(library: &str, version: &str, lock: L) -> Result<(), Failure> {
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

/// Reads the lines of the standard input on a separate thread, since the runtime may have only this
/// one.
#[must_use]
pub fn lines() -> UnboundedReceiver<String> {
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

/// Parses a number of milliseconds.
///
/// # Errors
/// If the text is not a number.
pub fn time(ms: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(ms.parse()?))
}
