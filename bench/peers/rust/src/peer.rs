//! What is common to all locks: the lines are obeyed, each by a task of its own.

use std::collections::HashMap;
use std::io::stdin;
use std::process::exit;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;

use crate::Failure;
use crate::measure::{crowd, cycles};
use crate::worker::{Order, work};

/// A lock of any name, and what holding it is.
pub(crate) trait Lock: Clone + Send + Sync + 'static {
    type Held: Send;

    /// Waits for the lock of that name for as long as it takes.
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Self::Held, Failure>> + Send;

    fn release(held: Self::Held) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Connects, and obeys the lines of the standard input until it ends; all that is under way ends
/// with it.
pub(crate) fn serve<L: Lock>(
    runtime: &Runtime,
    library: &str,
    connect: impl Future<Output = Result<L, Failure>>,
) -> Result<(), Failure> {
    let lock = runtime.block_on(connect)?;
    println!("ready {library} {}", version(library)?);
    let mut workers = HashMap::new();
    for line in stdin().lines() {
        let line = line?;
        let lock = lock.clone();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["cycles", tasks, ms] => start(runtime, cycles(lock, tasks.parse()?, time(ms)?)),
            ["crowd", tasks, ms] => start(runtime, crowd(lock, tasks.parse()?, time(ms)?)),
            ["acquire", worker, name] => workers
                .entry(worker.to_owned())
                .or_insert_with(|| {
                    let (orders, heard) = unbounded_channel();
                    start(runtime, work(lock, worker.to_owned(), heard));
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

/// Starts a task whose failure ends the program.
fn start(runtime: &Runtime, task: impl Future<Output = Result<(), Failure>> + Send + 'static) {
    runtime.spawn(async {
        if let Err(failure) = task.await {
            eprintln!("{failure}");
            exit(1);
        }
    });
}

fn time(ms: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_millis(ms.parse()?))
}

/// The version of a crate that this program was built with.
fn version(library: &str) -> Result<&'static str, Failure> {
    include_str!("../Cargo.lock")
        .split_once(&format!("name = \"{library}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .ok_or_else(|| format!("{library} is not in Cargo.lock").into())
}
