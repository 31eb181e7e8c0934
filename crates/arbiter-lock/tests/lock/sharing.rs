//! Readers and permits, mostly on a real server: many clients, crashes, a full memory, lost keys.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Guard, LostReason, NoopLogger};
use futures_util::future::join_all;
use testkit::{ChildProcess, GoLock, Server, companion, eventually_async, unique_name};
use tokio::task::JoinSet;

use crate::in_line;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn client(server: &Server) -> Client {
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    // With many clients, a reply may be slow.
    builder.command_timeout(ms(10_000)).connect().await.unwrap()
}

fn key(name: &str) -> String {
    format!("arbiter:{name}")
}

fn share_key(name: &str) -> String {
    companion(&key(name), "share")
}

fn exists(server: &Server, key: &str) -> bool {
    server.call(&["EXISTS", key]).int() == Some(1)
}

/// Asserts that every key has a TTL.
fn all_end(server: &Server) {
    for key in server.keys() {
        let life = server.call(&["PTTL", &key]).int().unwrap();
        assert_ne!(life, -1, "{key} has no end");
    }
}

async fn queued(client: &Client, name: &str, count: u64) {
    let lock = client.lock(name);
    for _ in 0..1_000 {
        if lock.inspect().await.unwrap().waiting == count {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never {count} waiting");
}

#[tokio::test(start_paused = true)]
async fn writer_is_held_and_queued_as_a_lock() {
    let client = Client::in_memory();
    let (lock, writers) = (client.lock("l"), client.rw_lock("l").lease_time(ms(900)));
    let first = writers.write().await.unwrap();
    assert!(!first.is_shared() && writers.try_write().await.unwrap().is_none());
    assert!(lock.try_acquire().await.unwrap().is_none());
    let impatient = writers.clone().wait_timeout(ms(100));
    assert!(impatient.write().await.unwrap_err().is_contended());
    let next = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await.unwrap() }
    });
    queued(&client, "l", 1).await;
    let last = tokio::spawn({
        let writers = writers.clone();
        async move { writers.write().await.unwrap() }
    });
    queued(&client, "l", 2).await;
    tokio::time::sleep(ms(2_000)).await;
    assert!(first.is_held(), "it is renewed");
    let mut fence = first.fence();
    first.release().await.unwrap();
    for waiting in [next, last] {
        let guard = waiting.await.unwrap();
        assert!(fence < guard.fence());
        fence = guard.fence();
        drop(guard);
    }
    let unrenewed = writers.watchdog(false).write().await.unwrap();
    assert_eq!(unrenewed.lost().await, LostReason::Expired);
}

#[tokio::test]
async fn sharers_are_renewed_at_the_memory_limit() {
    let server = Server::start();
    let client = client(&server).await;
    let (name, other) = (unique_name(), unique_name());
    let reader = client.rw_lock(&name).lease_time(ms(900));
    let readers = [reader.read().await.unwrap(), reader.read().await.unwrap()];
    let lock = client.lock(&other).lease_time(ms(900));
    let guard = lock.acquire().await.unwrap();
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    tokio::time::sleep(ms(2_000)).await;
    assert!(guard.is_held(), "{guard:?}");
    assert!(readers.iter().all(|reader| reader.is_held()), "{readers:?}");
    for guard in readers.into_iter().chain([guard]) {
        guard.release().await.unwrap();
    }
    assert!(!exists(&server, &key(&name)) && !exists(&server, &share_key(&name)));
}

#[tokio::test]
async fn sharers_release_and_downgrade_at_the_memory_limit() {
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let semaphore = client.semaphore(&name, 3).wait_timeout(ms(300));
    let (a, b) = (
        semaphore.acquire().await.unwrap(),
        semaphore.acquire().await.unwrap(),
    );
    let written = unique_name();
    let writer = client.lock(&written).acquire().await.unwrap();
    server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = server.call(&["HGETALL", &key(&name)]);
    assert!(semaphore.acquire().await.unwrap_err().is_unavailable());
    assert!(semaphore.resize(5).await.unwrap_err().is_unavailable());
    assert_eq!(server.call(&["HGETALL", &key(&name)]), before);
    let unheld = unique_name();
    let reader = client.rw_lock(&unheld).wait_timeout(ms(300));
    assert!(reader.read().await.unwrap_err().is_unavailable());
    assert!(!exists(&server, &key(&unheld)) && !exists(&server, &share_key(&unheld)));
    a.release().await.unwrap();
    let status = semaphore.inspect().await.unwrap();
    assert_eq!(status.sharing.unwrap().weight, 1);
    b.release().await.unwrap();
    assert!(!exists(&server, &key(&name)) && !exists(&server, &share_key(&name)));
    writer.downgrade().await.unwrap();
    all_end(&server);
    writer.release().await.unwrap();
    assert!(!exists(&server, &key(&written)) && !exists(&server, &share_key(&written)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn release_grants_a_thousand_waiting_readers() {
    const READERS: u64 = 1_000;
    let server = Server::start();
    let (writers, readers) = (client(&server).await, client(&server).await);
    let name = unique_name();
    let writer = writers.rw_lock(&name).write().await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..READERS {
        let lock = readers.rw_lock(&name);
        waiting.spawn(async move { lock.read().await.unwrap() });
    }
    queued(&writers, &name, READERS).await;
    writer.release().await.unwrap();
    let guards = waiting.join_all().await;
    // On a busy machine some are too late for their grant, and are notified.
    let held = guards.iter().filter(|guard| guard.is_held()).count() as u64;
    let sharing = writers
        .lock(&name)
        .inspect()
        .await
        .unwrap()
        .sharing
        .unwrap();
    assert!(0 < held && held <= sharing.count, "{held} {sharing:?}");
    drop(guards);
    let is_free = eventually_async(ms(30_000), || !exists(&server, &key(&name))).await;
    assert!(is_free);
    assert!(!exists(&server, &share_key(&name)));
}

#[tokio::test(start_paused = true)]
async fn thousand_readers_acquire_and_release_within_a_second() {
    const READERS: usize = 1_000;
    let client = Client::in_memory();
    let (lock, seen) = (client.rw_lock("l"), client.lock("l"));
    let writer = lock.write().await.unwrap();
    let waiting = in_line(&seen, READERS, || lock.read()).await;
    let begun = tokio::time::Instant::now();
    writer.release().await.unwrap();
    let guards = join_all(waiting).await;
    assert!(begun.elapsed() < ms(100), "{:?}", begun.elapsed());
    let holds = |guard: &Result<Guard, Error>| guard.as_ref().is_ok_and(|guard| guard.is_held());
    assert!(guards.iter().all(holds));
    let sharing = seen.inspect().await.unwrap().sharing.unwrap();
    assert_eq!(sharing.count, READERS as u64);
    drop(guards);
    tokio::time::sleep(ms(1_000)).await;
    assert!(!seen.inspect().await.unwrap().is_held());
}

#[tokio::test]
async fn release_cost_is_independent_of_sharer_count() {
    let server = Server::start();
    let client = client(&server).await;
    let mut costs = Vec::new();
    for sharers in [1, 1_000, 10_000] {
        let name = unique_name();
        let semaphore = client.semaphore(&name, 20_000).lease_time(ms(60_000));
        let mut guards: Vec<Guard> = Vec::new();
        while guards.len() < sharers {
            let mut joining = JoinSet::new();
            for _ in 0..250.min(sharers) {
                let semaphore = semaphore.clone();
                joining.spawn(async move { semaphore.acquire().await.unwrap() });
            }
            guards.extend(joining.join_all().await);
        }
        let mut best = u64::MAX;
        for _ in 0..150 {
            server.call(&["CONFIG", "RESETSTAT"]);
            semaphore.acquire().await.unwrap().release().await.unwrap();
            best = best.min(script_micros(&server));
        }
        println!("{sharers}: {best} us of the server for a cycle");
        costs.push(best);
        drop(guards);
        let is_free = eventually_async(ms(60_000), || !exists(&server, &key(&name))).await;
        assert!(is_free, "{sharers} have left");
    }
    assert!(costs[2] < 4 * costs[0], "{costs:?}");
}

/// Returns how long the server has spent in scripts.
fn script_micros(server: &Server) -> u64 {
    let stats = server.call(&["INFO", "commandstats"]).text().unwrap();
    let micros = |line: &str| {
        let (_, rest) = line.strip_prefix("cmdstat_eval")?.split_once("usec=")?;
        rest.split(',').next()?.parse::<u64>().ok()
    };
    stats.lines().filter_map(micros).sum()
}

fn child(url: &str, name: &str, lease_ms: u64) -> ChildProcess {
    let child = ChildProcess::example("child_process", &[url, name, &lease_ms.to_string()]);
    assert_eq!(child.receive(ms(10_000)).as_deref(), Some("ready"));
    child
}

fn holds(child: &ChildProcess) {
    let said = child.receive(ms(5_000)).expect("a line from the child");
    assert!(said.starts_with("held "), "{said}");
}

#[tokio::test]
async fn permits_of_dead_processes_return_exactly_once() {
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let mut children = [3, 2, 1].map(|weight| {
        let mut child = child(&server.url(), &name, 900);
        child.send(&format!("permits 6 {weight}"));
        holds(&child);
        child
    });
    let semaphore = client.semaphore(&name, 6);
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    children[0].kill();
    children[1].stop();
    let begun = Instant::now();
    let five = semaphore.acquire_many(5).await.unwrap();
    assert!(begun.elapsed() < ms(900 + 1_000), "{:?}", begun.elapsed());
    assert!(
        semaphore.try_acquire().await.unwrap().is_none(),
        "one lives"
    );
    children[1].cont();
    children[1].send("status");
    let said = children[1].receive(ms(5_000)).unwrap();
    assert!(said.starts_with("is_held false"), "{said}");
    children[1].send("release");
    let said = children[1].receive(ms(5_000)).unwrap();
    assert!(said.starts_with("lost"), "{said}");
    tokio::time::sleep(ms(300)).await;
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    children[2].send("release");
    assert_eq!(children[2].receive(ms(5_000)).as_deref(), Some("released"));
    let one = semaphore.acquire().await.unwrap();
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    drop((five, one));
}

#[tokio::test]
async fn sharers_are_notified_of_lost_keys() {
    let server = Server::start();
    let client = client(&server).await;
    for astray in [
        "DEL K", "DEL S", "FLUSHALL", "SET S x", "EXPIRE K", "EXPIRE S",
    ] {
        let name = unique_name();
        let semaphore = client.semaphore(&name, 2).lease_time(ms(1_200));
        let held = [
            semaphore.acquire().await.unwrap(),
            semaphore.acquire().await.unwrap(),
        ];
        let (lock, share) = (key(&name), share_key(&name));
        match astray {
            "DEL K" => server.call(&["DEL", &lock]),
            "DEL S" => server.call(&["DEL", &share]),
            "SET S x" => server.call(&["DEL", &lock, &share]),
            "EXPIRE K" => server.call(&["PEXPIRE", &lock, "1"]),
            "EXPIRE S" => server.call(&["PEXPIRE", &share, "1"]),
            _ => server.call(&["FLUSHALL"]),
        };
        if astray == "SET S x" {
            server.call(&["SET", &share, "x", "PX", "60000"]);
        }
        tokio::time::sleep(ms(5)).await;
        let writer = client.rw_lock(&name).lease_time(ms(1_200));
        let writer = writer.wait_timeout(ms(500)).write().await;
        let writer = writer.unwrap_or_else(|e| panic!("{astray}: {e}"));
        for guard in held {
            let told = tokio::time::timeout(ms(1_000), guard.lost()).await;
            let told = told.unwrap_or_else(|_| panic!("{astray}: not told"));
            assert_ne!(told, LostReason::Released, "{astray}");
            drop(guard);
        }
        tokio::time::sleep(ms(100)).await;
        assert!(writer.is_held(), "{astray}");
        assert!(exists(&server, &lock), "{astray}: a late release freed it");
        writer.release().await.unwrap();
        let two = semaphore.acquire_many(2).await.unwrap();
        assert!(semaphore.try_acquire().await.unwrap().is_none());
        all_end(&server);
        two.release().await.unwrap();
    }
}

#[tokio::test]
async fn go_client_and_sharers_exclude_each_other() {
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let go = GoLock::new(&server, &name, ms(30_000));
    let lock = client.rw_lock(&name);
    let readers = [lock.read().await.unwrap(), lock.read().await.unwrap()];
    for reader in readers {
        assert!(!go.try_lock() && !go.unlock() && !go.refresh());
        reader.release().await.unwrap();
    }
    assert!(go.try_lock());
    assert!(lock.try_read().await.unwrap().is_none());
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { (lock.read().await.unwrap(), lock.read().await.unwrap()) }
    });
    queued(&client, &name, 1).await;
    assert!(go.unlock());
    let readers = tokio::time::timeout(ms(1_000), waiting).await;
    drop(readers.expect("a Go release lets readers in").unwrap());
    assert!(eventually_async(ms(1_000), || go.try_lock()).await);
}

#[tokio::test]
async fn limit_of_dead_waiter_and_writer_is_dropped() {
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let mut writer = child(&server.url(), &name, 900);
    writer.send("hold");
    holds(&writer);
    let mut waiter = child(&server.url(), &name, 900);
    waiter.send("permits 5 1");
    queued(&client, &name, 1).await;
    writer.kill();
    waiter.kill();
    let is_free = eventually_async(ms(3_000), || !exists(&server, &key(&name))).await;
    assert!(is_free);
    let seven = client.semaphore(&name, 7).try_acquire_many(7).await;
    let seven = seven.unwrap().expect("it is free");
    seven.release().await.unwrap();
}

#[tokio::test]
async fn ending_one_sharer_keeps_the_others() {
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let semaphore = client.semaphore(&name, 3).lease_time(ms(1_200));
    let asked = semaphore.acquire().await.unwrap();
    let broken = semaphore.acquire().await.unwrap();
    let other = semaphore.acquire().await.unwrap();
    let lock = client.lock(&name);
    assert!(lock.break_now(broken.fence()).await.unwrap());
    assert!(!lock.break_now(broken.fence()).await.unwrap());
    let next = semaphore.try_acquire().await.unwrap().expect("one is free");
    lock.ask_to_stop(asked.fence()).await.unwrap();
    assert_eq!(asked.lost().await, LostReason::Revoked);
    assert_ne!(broken.lost().await, LostReason::Released);
    assert!(broken.release().await.unwrap_err().is_lost());
    assert!(
        semaphore.try_acquire().await.unwrap().is_none(),
        "asked is not freed"
    );
    drop(asked);
    let last = semaphore.acquire().await.unwrap();
    assert!(other.is_held() && next.is_held());
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    drop((other, next, last));
}

#[tokio::test]
async fn readers_behind_dead_writer_are_granted_in_time() {
    const READERS: u64 = 300;
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let mut writer = child(&server.url(), &name, 1_000);
    writer.send("hold");
    holds(&writer);
    let mut waiting = JoinSet::new();
    for _ in 0..READERS {
        let lock = client.rw_lock(&name);
        waiting.spawn(async move { lock.read().await.unwrap() });
    }
    queued(&client, &name, READERS).await;
    writer.kill();
    let begun = Instant::now();
    let guards = waiting.join_all().await;
    let took = begun.elapsed();
    println!("{took:?}");
    assert!(took < ms(1_000 + 1_000 + 500), "{took:?}");
    assert!(guards.iter().all(|guard| guard.is_held()));
}

#[tokio::test]
async fn go_client_acquires_after_longest_remaining_hold() {
    let server = Server::start();
    let client = client(&server).await;
    let name = unique_name();
    let short = client.rw_lock(&name).lease_time(ms(700)).watchdog(false);
    std::mem::forget(short.read().await.unwrap());
    let long = client.rw_lock(&name).lease_time(ms(60_000));
    let long = long.read().await.unwrap();
    let go = GoLock::new(&server, &name, ms(30_000));
    assert!(!go.try_lock());
    long.release().await.unwrap();
    for key in [key(&name), share_key(&name)] {
        let life = server.call(&["PTTL", &key]).int().unwrap();
        assert!(life <= 700, "{key}: {life}");
    }
    assert!(eventually_async(ms(1_000), || go.try_lock()).await);
}

#[tokio::test]
async fn large_hand_offs_continue_beyond_one_step() {
    const CROWD: usize = 100;
    let server = Server::start();
    let client = client(&server).await;
    for how in ["release", "downgrade", "break"] {
        let name = unique_name();
        let lock = client.rw_lock(&name);
        let writer = lock.write().await.unwrap();
        let waiting = in_line(&client.lock(&name), CROWD, || lock.read()).await;
        server.call(&["CONFIG", "RESETSTAT"]);
        match how {
            "release" => writer.release().await.unwrap(),
            "downgrade" => writer.downgrade().await.unwrap(),
            _ => assert!(client.lock(&name).break_now(writer.fence()).await.unwrap()),
        }
        granted(&server, CROWD).await;
        drop(waiting);
    }

    let name = unique_name();
    let semaphore = client.semaphore(&name, 1).follow_limit();
    let first = semaphore.acquire().await.unwrap();
    let waiting = in_line(&client.lock(&name), CROWD, || semaphore.acquire()).await;
    let limit = 1 + CROWD as u32;
    server.call(&["CONFIG", "RESETSTAT"]);
    assert_eq!(semaphore.resize(limit).await.unwrap(), Some(1));
    granted(&server, CROWD).await;
    let guards = join_all(waiting).await;
    assert!(semaphore.try_acquire().await.unwrap().is_none());
    drop((first, guards));
}

/// Waits until that many are granted although none polls: the client that granted the first
/// continues to the last.
async fn granted(server: &Server, count: usize) {
    let grants = || {
        let stats = server.call(&["INFO", "commandstats"]).text().unwrap();
        let line = stats.split("cmdstat_publish:calls=").nth(1).unwrap_or("0,");
        line.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    let all = eventually_async(ms(20_000), || count <= grants()).await;
    assert!(all, "{} of {count}", grants());
}
