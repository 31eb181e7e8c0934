//! A helper of the tests, not an example: a process that forks while it holds. Usage:
//! `forker URL SCENARIO`.
//!
//! It succeeds if everything of the parent is inert in the children, and the parent is not
//! affected.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod child;
mod parent;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Guard, LostReason, NoopLogger, block_on};
use fork::Fork;
use tokio::runtime::Builder;

use child::{
    blocking, drops, in_a_child, is_forked, operations, poll, poll_once, status_of,
    status_of_a_child, waiting,
};
use parent::{Counters, Parent, connect, pushes_arrive};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The time limit of a child. It is longer than a busy machine needs.
const LIMIT: Duration = ms(30_000);

/// How many children are forked while other threads are busy. Each finds other mutexes locked.
const CHILDREN: usize = 20;

fn main() {
    let mut args = std::env::args().skip(1);
    let (url, scenario) = (args.next().unwrap(), args.next().unwrap());
    match scenario.as_str() {
        "operations" => Parent::start(&url).survives(operations),
        "blocking" => Parent::start(&url).survives(blocking),
        "while-blocked" => while_blocked(&url),
        "drops" => Parent::start(&url).survives(drops),
        "waiting" => Parent::start(&url).survives(waiting),
        "same-runtime" => same_runtime(&url),
        "new-client" => new_client(&url),
        "busy-new-client" => busy_new_client(&url),
        "request-ids" => request_ids(&url),
        other => panic!("no scenario {other}"),
    }
}

/// Checks that a child forked by work under `block_on` ends with the loss of the hold.
fn while_blocked(url: &str) {
    let client = block_on(connect(url, Arc::default()));
    let work = std::future::poll_fn(|_| match fork::fork().unwrap() {
        Fork::Parent(pid) => Poll::Ready(pid),
        Fork::Child => Poll::Pending,
    });
    match block_on(client.lock("l").run(|_| work)) {
        Ok(pid) => assert_eq!(status_of(pid), 0, "the child failed"),
        Err(Error::Lost(loss)) if loss.reason == LostReason::Forked => std::process::exit(0),
        Err(error) => panic!("{error}"),
    }
    assert!(!block_on(client.lock("l").inspect()).unwrap().is_held());
}

type Acquiring = Pin<Box<dyn Future<Output = Result<Guard, Error>> + Send>>;

/// Checks that a new client in a child contends with the parent.
fn new_client(url: &str) {
    // SQLite cannot be opened in a child while a thread of the parent is inside it.
    let parent = Parent::start(url).rests();
    let is_shared = !url.starts_with("memory:");
    in_a_child(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(url, Arc::default()).await;
            let tried = client.lock("l").try_acquire().await.unwrap();
            assert_eq!(tried.is_none(), is_shared, "the parent holds it");
            let lock = client.lock("child");
            let guard = lock.acquire().await.unwrap();
            let holder = lock.inspect().await.unwrap().holder.unwrap();
            assert_eq!(holder.label.pid, Some(std::process::id()));
            assert!(block_on(lock.try_acquire()).unwrap().is_none());
            guard.refresh().await.unwrap();
            guard.release().await.unwrap();
            if let Some(folder) = url.strip_prefix("file://") {
                locks_its_file(folder);
            }
        });
        // The parent's objects stay inert in the child.
        is_forked(block_on(parent.guard.refresh()));
    });
    if let Some(folder) = url.strip_prefix("file://") {
        locks_its_file(folder);
    }
    parent.goes_on();
}

/// Checks that a child forked while threads of the parent use SQLite opens the file or is refused.
fn busy_new_client(url: &str) {
    const REFUSED: i32 = 3;
    let parent = Parent::start(url);
    let mut refused = 0;
    for _ in 0..500 {
        let status = status_of_a_child(|| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let connecting = Client::builder().store(url).logger(NoopLogger).connect();
            match runtime.block_on(connecting) {
                Ok(client) => {
                    let lock = client.lock("l");
                    let tried = runtime.block_on(lock.try_acquire());
                    assert!(tried.unwrap().is_none(), "the parent holds it");
                    0
                }
                Err(Error::Refused(refused)) if refused.to_string().contains("at the fork") => {
                    REFUSED
                }
                Err(error) => panic!("{error}"),
            }
        });
        assert!([0, REFUSED].contains(&status), "the child failed");
        refused += usize::from(status == REFUSED);
        if 5 <= refused {
            return parent.goes_on();
        }
    }
    panic!("threads that are always busy were busy at {refused} forks");
}

/// Checks in the kernel's list that this process has locked its file.
fn locks_its_file(folder: &str) {
    let file = std::fs::metadata(format!("{folder}/arbiter.db")).unwrap();
    let (pid, inode) = (std::process::id().to_string(), file.ino().to_string());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let is_ours = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "POSIX");
        at.is_some_and(|at| words[at + 3] == pid && words[at + 4].ends_with(&format!(":{inode}")))
    };
    assert!(
        locks.lines().any(is_ours),
        "none of {pid} on {inode}: {locks}"
    );
}

/// Checks that children draw other request ids, even if the parent had drawn nothing.
fn request_ids(url: &str) {
    let _: u64 = rand::random();
    draws_differ(url);
    draws_differ(url);
}

fn draws_differ(url: &str) {
    let draw = || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(url, Arc::default()).await;
            let lock = client.lock(&format!("of {}", std::process::id()));
            let mut drawn = Vec::new();
            for _ in 0..4 {
                let guard = lock.acquire().await.unwrap();
                drawn.push(guard.owner().to_owned());
                guard.release().await.unwrap();
            }
            drawn
        })
    };
    let (mut read, mut write) = std::io::pipe().unwrap();
    in_a_child(|| write.write_all(draw().join(" ").as_bytes()).unwrap());
    drop(write);
    let mut theirs = String::new();
    read.read_to_string(&mut theirs).unwrap();
    let own = draw();
    assert_eq!(theirs.split(' ').count(), own.len());
    assert!(
        own.iter().all(|id| !theirs.contains(id)),
        "{own:?} {theirs}"
    );
}

/// Checks children forked inside the parent's runtime, which has one thread.
fn same_runtime(url: &str) {
    let mut runtime = Some(Builder::new_current_thread().enable_all().build().unwrap());
    let counters = Arc::<Counters>::default();
    let parent = runtime.as_ref().unwrap().block_on(async {
        let client = connect(url, counters.clone()).await;
        let guard = client.lock("l").acquire().await.unwrap();
        let waiter = client.lock("l");
        let mut pending = Box::pin(async move { waiter.acquire().await });
        while client.lock("l").inspect().await.unwrap().waiting < 1 {
            assert!(poll(&mut pending).is_pending());
            tokio::task::yield_now().await;
        }
        in_a_child(|| {
            is_forked(poll_once(guard.refresh()));
            is_forked(poll_once(client.lock("x").acquire()));
            let Poll::Ready(done) = poll(&mut pending) else {
                panic!("it waits");
            };
            is_forked(done);
        });
        // The last handles of the client are dropped here, and its connection with them.
        let mut parent = Some((pending, guard, client));
        in_a_child(|| drop(parent.take()));
        parent
    });
    let mut parent = parent;
    in_a_child(|| drop(parent.take()));
    in_a_child(|| drop(runtime.take()));
    in_a_child(|| {
        drop(runtime.take());
        drop(parent.take());
    });
    let (mut pending, guard, client) = parent.unwrap();
    runtime.unwrap().block_on(async {
        let renewed = counters.renewed.load(Ordering::Relaxed);
        let begun = Instant::now();
        while counters.renewed.load(Ordering::Relaxed) < renewed + 2 {
            assert!(begun.elapsed() < LIMIT, "not renewed");
            tokio::time::sleep(ms(5)).await;
        }
        pushes_arrive(url, &client).await;
        assert_eq!(counters.failures.load(Ordering::Relaxed), 0);
        guard.release().await.unwrap();
        pending.as_mut().await.unwrap().release().await.unwrap();
    });
}
