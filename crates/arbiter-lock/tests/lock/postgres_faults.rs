//! Failures of a PostgreSQL server: it is killed and stopped, and ends sessions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Guard, Lock, LostReason, NoopLogger};
use testkit::unique_name;
use testkit::{ChildProcess, Postgres, eventually, eventually_async, goes_on, soak_time};
use tokio::task::{JoinHandle, JoinSet};

use crate::acquire_and_release;
use crate::stress::{GoesOn, Register, worker};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) async fn client(url: &str) -> Client {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await.unwrap()
}

/// Queues that many waiters, one behind the other.
pub(crate) async fn queue(lock: &Lock, count: u64) -> Vec<JoinHandle<Guard>> {
    let before = lock.inspect().await.unwrap().waiting;
    let mut waiters = Vec::new();
    for place in before + 1..=before + count {
        let waiter = lock.clone();
        waiters.push(tokio::spawn(async move { waiter.acquire().await.unwrap() }));
        while lock.inspect().await.unwrap().waiting < place {
            tokio::time::sleep(ms(5)).await;
        }
    }
    waiters
}

/// Checks that the waiters are granted one after another, with higher fences.
pub(crate) async fn granted_in_order(waiters: Vec<JoinHandle<Guard>>, mut fence: u64) {
    for waiter in waiters {
        let next = tokio::time::timeout(ms(15_000), waiter).await;
        let next = next.expect("its turn").unwrap();
        assert!(fence < next.fence());
        fence = next.fence();
        next.release().await.unwrap();
    }
}

/// Acquires and releases two names on three clients until `end`, while `spoil` runs. Checks that
/// holds do not overlap, and that the names are free at the end.
pub(crate) async fn under_load(urls: &[String; 3], end: Instant, spoil: impl FnOnce() + Send) {
    let registers: [Arc<Register>; 2] = Default::default();
    let grants = {
        let registers = registers.clone();
        move || {
            registers
                .iter()
                .map(|r| r.grants.load(Ordering::Relaxed))
                .sum::<usize>()
        }
    };
    let enough = 30;
    let goes_on: GoesOn = {
        let grants = grants.clone();
        Arc::new(move || goes_on(end, || enough < grants()))
    };
    let names = [unique_name(), unique_name()];
    let mut workers = JoinSet::new();
    for url in urls {
        let client = client(url).await;
        for n in 0..6 {
            let lock = client.lock(&names[n % 2]).lease_time(ms(1_000));
            workers.spawn(worker(lock, registers[n % 2].clone(), goes_on.clone()));
        }
    }
    tokio::task::block_in_place(spoil);
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    println!("{} grants", grants());
    assert!(enough < grants());
    let client = client(&urls[0]).await;
    for name in &names {
        let lock = client.lock(name).wait_timeout(ms(5_000));
        acquire_and_release(&lock).await;
    }
}

/// Returns how many sessions clients have.
pub(crate) fn sessions(server: &Postgres) -> usize {
    let count = server.sql(
        "SELECT count(*) FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    );
    count.parse().unwrap()
}

/// Ends the sessions of clients.
fn end_sessions(server: &Postgres) {
    let _ = server.try_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_keeps_holds_and_queue_order() {
    let mut server = Postgres::builder().start();
    let (holder, other) = (client(&server.url()).await, client(&server.url()).await);
    let name = unique_name();
    let lock = holder.lock(&name).lease_time(ms(10_000));
    let guard = lock.acquire().await.unwrap();
    let waiters = queue(&other.lock(&name), 3).await;
    server.kill();
    tokio::task::block_in_place(|| server.restart());
    let begun = Instant::now();
    while guard.refresh().await.is_err() {
        assert!(begun.elapsed() < ms(15_000));
        tokio::time::sleep(ms(20)).await;
    }
    assert!(guard.is_held());
    // The crash may undo places in the queue, until the waiters poll again.
    let begun = Instant::now();
    while !matches!(other.lock(&name).inspect().await, Ok(status) if status.waiting == 3) {
        assert!(begun.elapsed() < ms(15_000));
        tokio::time::sleep(ms(20)).await;
    }
    assert!(other.lock(&name).try_acquire().await.unwrap().is_none());
    let fence = guard.fence();
    guard.release().await.unwrap();
    granted_in_order(waiters, fence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_never_overlap_while_server_is_killed() {
    let mut server = Postgres::builder().start();
    let urls = [(); 3].map(|()| server.url());
    let end = Instant::now() + soak_time(ms(6_000));
    under_load(&urls, end, || {
        while Instant::now() < end {
            std::thread::sleep(ms(700));
            server.kill();
            server.restart();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_never_overlap_while_sessions_end() {
    let server = Postgres::start();
    let urls = [(); 3].map(|()| server.url());
    let keeper = client(&server.url()).await;
    let lock = keeper.lock(&unique_name()).lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    let end = Instant::now() + soak_time(ms(5_000));
    under_load(&urls, end, || {
        while Instant::now() < end {
            end_sessions(&server);
            std::thread::sleep(ms(70));
        }
    })
    .await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiter_is_notified_on_its_next_session() {
    let server = Postgres::start();
    let (holder, other) = (client(&server.url()).await, client(&server.url()).await);
    let name = unique_name();
    for _ in 0..3 {
        let guard = holder.lock(&name).acquire().await.unwrap();
        let waiters = queue(&other.lock(&name), 1).await;
        end_sessions(&server);
        // Both have polled or been renewed on new sessions. The next poll is far away.
        let begun = Instant::now();
        while sessions(&server) < 2 {
            assert!(begun.elapsed() < ms(15_000));
            tokio::time::sleep(ms(5)).await;
            let _ = holder.lock(&name).inspect().await;
        }
        tokio::time::sleep(ms(150)).await;
        let released = Instant::now();
        guard.release().await.unwrap();
        for waiter in waiters {
            let next = waiter.await.unwrap();
            let waited = released.elapsed();
            assert!(waited < ms(500), "{waited:?}: it was not notified");
            next.release().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_server_ends_waits_and_is_found_again() {
    let server = Postgres::start();
    let client = client(&server.url()).await;
    let [held, name] = [unique_name(), unique_name()];
    let guard = client
        .lock(&held)
        .lease_time(ms(2_000))
        .acquire()
        .await
        .unwrap();
    acquire_and_release(&client.lock(&name)).await;
    server.stop();
    let left = guard.remaining();
    let stopped = Instant::now();
    let lost = tokio::spawn(async move {
        let reason = guard.lost().await;
        (reason, Instant::now())
    });
    for _ in 0..2 {
        let begun = Instant::now();
        let error = client.lock(&name).try_acquire().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(begun.elapsed() < ms(2_300), "{:?}", begun.elapsed());
    }
    let (reason, at) = lost.await.unwrap();
    assert_eq!(reason, LostReason::Unreachable);
    assert!(at - stopped <= left + ms(200));
    let begun = Instant::now();
    let lock = client.lock(&name).wait_timeout(ms(700));
    let error = lock.acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(ms(650) < begun.elapsed() && begun.elapsed() < ms(3_000));
    server.cont();
    let lock = client.lock(&name).wait_timeout(ms(10_000));
    let mut fence = 0;
    for _ in 0..3 {
        let guard = lock.acquire().await.unwrap();
        assert!(fence < guard.fence());
        fence = guard.fence();
        guard.release().await.unwrap();
    }
    acquire_and_release(&client.lock(&held).wait_timeout(ms(5_000))).await;
    let few = || sessions(&server) <= 2;
    assert!(eventually(ms(5_000), few), "{} sessions", sessions(&server));
}

#[test]
fn stopped_client_keeps_nothing_locked() {
    let server = Postgres::start();
    let name = unique_name();
    let runtime = crate::one_worker();
    let other = runtime.block_on(client(&server.url()));
    let mut child = ChildProcess::example("child_process", &[&server.url(), &name, "600"]);
    assert_eq!(child.receive(ms(10_000)).as_deref(), Some("ready"));
    child.send("share 8");
    for round in 0..20 {
        assert!(child.receive(ms(5_000)).is_some(), "it goes on");
        std::thread::sleep(Duration::from_micros(round * 137 % 3_000));
        child.stop();
        // The requests that it has sent are done within a moment.
        let is_unlocked = || {
            let locked = "SELECT count(*) FROM pg_locks
                          WHERE mode IN ('RowExclusiveLock', 'RowShareLock', 'ExclusiveLock')
                            AND locktype IN ('relation', 'transactionid', 'tuple')
                            AND pid <> pg_backend_pid()";
            server.sql(locked) == "0"
        };
        assert!(eventually(ms(2_000), is_unlocked), "round {round}");
        let begun = Instant::now();
        runtime.block_on(async {
            acquire_and_release(&other.lock(&unique_name())).await;
            if round % 5 == 0 {
                let lock = other.lock(&name).wait_timeout(ms(9_000));
                acquire_and_release(&lock).await;
            }
        });
        // Its hold expires, and its waiters are skipped.
        assert!(begun.elapsed() < ms(6_000), "{:?}", begun.elapsed());
        child.cont();
        while child.receive(ms(1)).is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_clients_share_one_name_fairly() {
    let server = Postgres::start();
    let register = Arc::new(Register::default());
    let name = unique_name();
    let end = Instant::now() + soak_time(ms(3_000));
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        // CI is slow, and each step meets those of the others.
        let builder = Client::builder().store(&server.url()).logger(NoopLogger);
        let client = builder.command_timeout(ms(5_000)).connect().await.unwrap();
        let register = register.clone();
        let lock = client.lock(&name);
        tasks.spawn(async move {
            let mut turns = 0_u32;
            while goes_on(end, || 10 <= turns) {
                let guard = lock.acquire().await.unwrap();
                register.enter(guard.hold());
                turns += 1;
                guard.release().await.unwrap();
            }
            drop(client);
            turns
        });
    }
    let turns = tasks.join_all().await;
    let (least, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
    println!("{turns:?}");
    assert!(*most <= least * 2 + 20, "{turns:?}");
    assert!(eventually_async(ms(2_000), || sessions(&server) == 0).await);
}
