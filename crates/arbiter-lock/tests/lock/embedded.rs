//! The embedded store only: processes that end, and the files that they leave.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, LostReason, NoopLogger};
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

async fn client(folder: &Folder) -> Client {
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
async fn held_file_lock_ends_waits_and_notifies_holder() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let guard = client.lock("held").lease_time(ms(1_200));
    let guard = guard.acquire().await.unwrap();
    let file_lock = std::fs::File::open(folder.path().join("store/gate")).unwrap();
    rustix::fs::flock(file_lock.as_fd(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    let begun = Instant::now();
    let error = client.lock("l").wait_timeout(ms(300)).acquire().await;
    assert!(error.unwrap_err().is_unavailable());
    assert!(begun.elapsed() < ms(600), "{:?}", begun.elapsed());
    let error = client.lock("l").try_acquire().await.unwrap_err();
    let words = format!("process {} keeps", std::process::id());
    assert!(error.to_string().contains(&words), "{error}");
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    assert!(begun.elapsed() < ms(2_500));
    drop(file_lock);
    let taken = client.lock("l").wait_timeout(ms(3_000)).acquire().await;
    taken.unwrap().release().await.unwrap();
    let again = client.lock("held").wait_timeout(ms(3_000)).acquire().await;
    drop(again.unwrap());
}

#[tokio::test]
async fn folder_removed_while_used_is_an_outage() {
    let folder = Folder::new();
    let before = client(&folder).await;
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let after = client(&folder).await;
    let guard = after.lock("l").acquire().await.unwrap();
    let error = before.lock("l").try_acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(
        error.to_string().contains("removed while in use"),
        "{error}"
    );
    guard.release().await.unwrap();
}

/// Another process holds now. A process that used the store earlier must not.
async fn assert_refused_after_move(before: &Client, after: &Client) {
    let guard = after.lock("l").acquire().await.unwrap();
    let error = before.lock("l").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("while in use"), "{error}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn folder_moved_while_used_is_an_outage() {
    let folder = Folder::new();
    let before = client(&folder).await;
    let store = folder.path().join("store");
    std::fs::rename(&store, folder.path().join("elsewhere")).unwrap();
    assert_refused_after_move(&before, &client(&folder).await).await;
}

#[tokio::test]
async fn folder_removed_during_file_lock_wait_is_refused() {
    let folder = Folder::new();
    let before = client(&folder).await;
    let file_lock = std::fs::File::open(folder.path().join("store/gate")).unwrap();
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let after = client(&folder).await;
    let guard = after.lock("l").acquire().await.unwrap();
    rustix::fs::flock(file_lock.as_fd(), rustix::fs::FlockOperation::LockExclusive).unwrap();
    let second = tokio::spawn({
        let lock = before.lock("l");
        async move { lock.try_acquire().await }
    });
    tokio::time::sleep(ms(100)).await;
    drop(file_lock);
    let error = second.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("while in use"), "{error}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn moved_file_is_not_recreated_while_used() {
    let folder = Folder::new();
    let before = client(&folder).await;
    let store = folder.path().join("store");
    for file in ["arbiter.db", "arbiter.db-wal", "arbiter.db-shm"] {
        std::fs::rename(store.join(file), folder.path().join(file)).unwrap();
    }
    let error = before.lock("l").try_acquire().await.unwrap_err();
    assert!(error.to_string().contains("while in use"), "{error}");
    let error = Client::connect(&folder.url()).await.unwrap_err();
    assert!(error.to_string().contains("end it first"), "{error}");
    drop(before);
    for _ in 0..200 {
        if let Ok(after) = Client::connect(&folder.url()).await {
            drop(after.lock("l").acquire().await.unwrap());
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("it is unused, and is not created again");
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
async fn externally_locked_file_delays_no_wait_limit() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let file = rusqlite::Connection::open(folder.path().join("store/arbiter.db")).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waits: Vec<_> = (0..30)
        .map(|_| {
            let lock = client.lock("l").wait_timeout(ms(300));
            tokio::spawn(async move {
                let begun = Instant::now();
                let error = lock.acquire().await.unwrap_err();
                assert!(error.is_unavailable(), "{error}");
                begun.elapsed()
            })
        })
        .collect();
    for wait in waits {
        let took = wait.await.unwrap();
        assert!(took < ms(900), "{took:?}");
    }
    file.execute_batch("COMMIT").unwrap();
    let taken = client.lock("l").wait_timeout(ms(3_000)).acquire().await;
    drop(taken.unwrap());
}

#[tokio::test]
async fn steps_go_on_while_many_names_are_forgotten() {
    const NAMES: u32 = 60_000;
    let folder = Folder::new();
    let clients = [client(&folder).await, client(&folder).await];
    let mut file = rusqlite::Connection::open(folder.path().join("store/arbiter.db")).unwrap();
    let all = file.transaction().unwrap();
    for n in 0..NAMES {
        let sql = "INSERT INTO names (name, waiting, passed_over, notes, queue_until, last_fence,
                                      fence_until) VALUES (?1, 0, 0, 0, 0, 1, 0)";
        let mut put = all.prepare_cached(sql).unwrap();
        put.execute([format!("name-{n}")]).unwrap();
    }
    all.commit().unwrap();
    let count = || -> u32 {
        let count = "SELECT count(*) FROM names";
        file.query_row(count, [], |row| row.get(0)).unwrap()
    };
    let (begun, mut worst) = (Instant::now(), Duration::ZERO);
    while 100 < count() && begun.elapsed() < ms(60_000) {
        for client in &clients {
            for _ in 0..64 {
                let one = Instant::now();
                let guard = client.lock("l").acquire().await.unwrap();
                guard.release().await.unwrap();
                worst = worst.max(one.elapsed());
            }
        }
    }
    assert!(count() <= 100, "{} names are left", count());
    assert!(worst < ms(800), "{worst:?}");
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

#[tokio::test]
async fn unusable_folder_error_says_why() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = |path: &str| format!("file://{path}");
    for (url, words) in [
        (url(file.to_str().unwrap()), "is not a folder"),
        (url(&format!("{}/below", file.display())), "Not a directory"),
        (url("/proc/arbiter"), "/proc/arbiter: "),
        (
            "file:relative".to_owned(),
            "such as file:///var/lib/arbiter",
        ),
    ] {
        let error = Client::connect(&url).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!matches!(error, Error::Contended(_)));
    }
}

#[tokio::test]
async fn children_inherit_no_descriptor_of_the_store() {
    let folder = Folder::new();
    let client = client(&folder).await;
    let guard = client.lock("l").acquire().await.unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", "ls -l /proc/self/fd /proc/$$/fd"])
        .output()
        .unwrap();
    let fds = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(fds.contains("->") && !fds.contains("store"), "{fds}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn ended_client_leaves_no_file_or_thread() {
    let folder = Folder::new();
    let mut fence = 0;
    for _ in 0..3 {
        let client = client(&folder).await;
        let guard = client.lock("l").acquire().await.unwrap();
        assert!(fence < guard.fence());
        fence = guard.fence();
        drop((guard, client));
    }
    let live = folder.path().join("store/live");
    assert!(eventually(ms(2_000), || {
        std::fs::read_dir(&live).unwrap().count() == 0
    }));
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    drop(client(&folder).await);
    assert!(eventually(ms(2_000), || threads() <= before + 1));
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
