//! The embedded store only: processes that end, and the files that they leave.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, NoopLogger};
use testkit::{ChildProcess, Folder, History, WallClock, eventually, goes_on, soak_time};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn child(folder: &Folder, lease_ms: u64) -> ChildProcess {
    let child = ChildProcess::example(
        "child_process",
        &[&folder.url(), "l", &lease_ms.to_string()],
    );
    assert_eq!(child.receive(ms(10_000)).as_deref(), Some("ready"));
    child
}

fn holder(folder: &Folder, lease_ms: u64) -> ChildProcess {
    let mut child = child(folder, lease_ms);
    child.send("hold");
    assert!(child.receive(ms(5_000)).unwrap().starts_with("held "));
    child
}

pub(crate) async fn client(folder: &Folder) -> Client {
    let builder = Client::builder().store(&folder.url()).logger(NoopLogger);
    builder.connect().await.unwrap()
}

async fn waiting(client: &Client, count: u64) {
    for _ in 0..500 {
        if client.lock("l").inspect().await.unwrap().waiting == count {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never {count} waiting");
}

#[tokio::test]
async fn killed_holder_frees_long_before_its_lease() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let mut holder = holder(&folder, 60_000);
    let next = tokio::spawn({
        let lock = client.lock("l");
        async move { lock.acquire().await.unwrap() }
    });
    waiting(&client, 1).await;
    tokio::time::sleep(ms(100)).await;
    holder.kill();
    let next = tokio::time::timeout(ms(1_000), next).await;
    drop(next.expect("it was notified of the death").unwrap());
}

#[tokio::test]
async fn dead_process_returns_permits_at_once() {
    const OF_THE_LIVING: u32 = 40;
    let folder = Folder::new();
    let (living, client) = (
        child_with_permits(&folder, OF_THE_LIVING),
        client(&folder).await,
    );
    let mut dead = child(&folder, 60_000);
    dead.send("permits 41 1");
    assert!(dead.receive(ms(5_000)).unwrap().starts_with("held "));
    let semaphore = client.semaphore("l", 41);
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    let next = tokio::spawn({
        let semaphore = semaphore.clone();
        async move {
            drop(semaphore.acquire().await.unwrap());
            Instant::now()
        }
    });
    waiting(&client, 1).await;
    tokio::time::sleep(ms(100)).await;
    let killed = Instant::now();
    dead.kill();
    let next = tokio::time::timeout(ms(3_000), next).await;
    let took = next.expect("it was notified of the death").unwrap() - killed;
    assert!(took < ms(500), "{took:?}");
    let mut dead = child(&folder, 60_000);
    dead.send("permits 41 1");
    assert!(dead.receive(ms(5_000)).unwrap().starts_with("held "));
    dead.kill();
    let taken = semaphore.try_acquire().await.unwrap();
    assert!(taken.is_some(), "a try takes what the dead held");
    drop((taken, living));
}

/// Starts a process that holds that many of 41 permits, one hold each.
fn child_with_permits(folder: &Folder, count: u32) -> ChildProcess {
    let mut child = child(folder, 60_000);
    for _ in 0..count {
        child.send("permits 41 1");
        assert!(child.receive(ms(5_000)).unwrap().starts_with("held "));
    }
    child
}

#[tokio::test]
async fn dead_processes_block_no_later_acquire() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let (mut dead, mut stopped) = (holder(&folder, 60_000), child(&folder, 60_000));
    stopped.send("queue 3");
    waiting(&client, 3).await;
    // Otherwise it may take its turns before it is killed.
    stopped.stop();
    dead.kill();
    stopped.kill();
    let status = client.lock("l").inspect().await.unwrap();
    assert!(!status.is_held(), "{status:?}");
    let guard = client.lock("l").try_acquire().await.unwrap();
    assert!(guard.is_some(), "a try takes what the dead held");
    drop(guard);
    let left = std::fs::read_dir(folder.path().join("store/live")).unwrap();
    assert_eq!(left.count(), 3, "one process lives: a file and two sockets");
}

#[tokio::test]
async fn killed_queue_delays_the_last_by_no_lease() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let mut dead = vec![holder(&folder, 60_000)];
    for n in 1..=4 {
        let mut ahead = child(&folder, 60_000);
        ahead.send("hold");
        waiting(&client, n).await;
        dead.push(ahead);
    }
    let last = tokio::spawn({
        let lock = client.lock("l");
        async move { lock.acquire().await.unwrap() }
    });
    waiting(&client, 5).await;
    tokio::time::sleep(ms(100)).await;
    // The middle ones die first: the client watches only its predecessor.
    for place in [2, 1, 3, 0, 4] {
        dead[place].kill();
    }
    let last = tokio::time::timeout(ms(3_000), last).await;
    drop(last.expect("one by one the dead ahead were seen").unwrap());
}

#[tokio::test]
async fn stopped_holder_frees_only_when_its_lease_ends() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let mut stopped = holder(&folder, 1_500);
    stopped.stop();
    assert!(client.lock("l").try_acquire().await.unwrap().is_none());
    let begun = Instant::now();
    let guard = client.lock("l").acquire().await.unwrap();
    assert!(ms(500) <= begun.elapsed(), "not before the lease was over");
    stopped.cont();
    stopped.send("status");
    let said = stopped.receive(ms(5_000)).unwrap();
    assert!(said.starts_with("is_held false"), "{said}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn files_of_killed_processes_are_removed() {
    let folder = Folder::new();
    for _ in 0..10 {
        child(&folder, 1_000).kill();
    }
    let left = || {
        let live = std::fs::read_dir(folder.path().join("store/live")).unwrap();
        live.count()
    };
    for _ in 0..20 {
        drop(client(&folder).await);
    }
    assert!(eventually(ms(2_000), || left() == 0), "{} files", left());
}

#[tokio::test]
async fn next_waiter_sees_holder_die_after_predecessor_leaves() {
    let folder = Folder::new();
    let (ahead, behind) = (client(&folder).await, client(&folder).await);
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut holder = holder(&folder, 60_000);
        let first = tokio::spawn({
            let lock = ahead.lock("l").wait_timeout(ms(700));
            async move { drop(lock.acquire().await) }
        });
        waiting(&behind, 1).await;
        let next = tokio::spawn({
            let lock = behind.lock("l");
            async move {
                drop(lock.acquire().await.unwrap());
                Instant::now()
            }
        });
        first.await.unwrap();
        waiting(&behind, 1).await;
        let killed = Instant::now();
        holder.kill();
        times.push(next.await.unwrap() - killed);
    }
    times.sort();
    assert!(times[2] < ms(300), "{times:?}");
}

#[test]
fn randomly_killed_processes_never_overlap() {
    const WORKERS: usize = 8;
    let folder = Folder::new();
    let path = folder.path().join("history");
    let history = History::open(&path).unwrap();
    let work = || {
        let mut worker = child(&folder, 2_000);
        worker.send(&format!("work {}", path.display()));
        worker
    };
    let end = Instant::now() + soak_time(ms(8_000));
    let mut workers: Vec<ChildProcess> = (0..WORKERS).map(|_| work()).collect();
    let (mut kills, mut sizes) = (0, Vec::new());
    let enough = 200;
    while goes_on(end, || enough < history.holds().unwrap().len()) {
        std::thread::sleep(ms(rand::random::<u64>() % 150));
        let victim = &mut workers[rand::random::<u64>() as usize % WORKERS];
        victim.stop();
        history.end_all_of(&victim.pid().to_string()).unwrap();
        victim.kill();
        kills += 1;
        *victim = work();
        let log = folder.path().join("store/arbiter.db-wal");
        sizes.push(std::fs::metadata(log).map_or(0, |found| found.len()));
    }
    let before = history.check();
    let before = before.unwrap_or_else(|violation| panic!("{violation}"));
    println!(
        "{kills} kills, {before:?}, the log at most {:?}",
        sizes.iter().max()
    );
    assert!(10 < kills && enough < before.holds, "{kills} {before:?}");
    assert!(sizes.iter().all(|size| *size < 32 << 20), "the log grows");
    // Every worker still gets its turn.
    std::thread::sleep(ms(1_500));
    let after = history.holds().unwrap();
    for worker in &workers {
        let pid = worker.pid().to_string();
        assert!(after.iter().any(|hold| hold.owner == pid), "{pid} starves");
    }
}

#[test]
fn wall_clock_jumps_end_no_hold() {
    let (folder, clock) = (Folder::new(), WallClock::new());
    let args = [&folder.url(), "l", "1000"];
    let start = || {
        let child = ChildProcess::example_in(&clock.env(), "child_process", &args);
        assert_eq!(child.receive(ms(10_000)).as_deref(), Some("ready"));
        child
    };
    let (mut one, mut other) = (start(), start());
    let mut last = 0;
    let mut held = |child: &ChildProcess| {
        let said = child.receive(ms(5_000)).unwrap();
        let fence: u64 = said.strip_prefix("held ").unwrap().parse().unwrap();
        assert!(last < fence, "{last} {fence}");
        last = fence;
    };
    for years in [0, 1, -1] {
        one.send("hold");
        held(&one);
        clock.run_ahead(years * 365 * 86_400 * 1_000_000);
        other.send("hold");
        assert_eq!(other.receive(ms(1_500)), None, "longer than a lease");
        one.send("status");
        assert!(one.receive(ms(5_000)).unwrap().starts_with("is_held true"));
        one.send("release");
        assert_eq!(one.receive(ms(5_000)).as_deref(), Some("released"));
        held(&other);
        other.send("release");
        assert_eq!(other.receive(ms(5_000)).as_deref(), Some("released"));
    }
}
