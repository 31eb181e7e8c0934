//! Holds that replicas have to acknowledge.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Begun, Client, Error, Event, NoopLogger, RefusedKind, Replicas};
use testkit::{Cluster, SentinelGroup, Server, companion, eventually, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn client(url: &str) -> Client {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await.unwrap()
}

/// Starts a server with that many replicas, and waits until they are connected.
fn replicated(server: testkit::ServerBuilder, count: usize) -> (Server, Vec<Server>) {
    let server = server.arg("--repl-diskless-sync-delay").arg("0");
    let master = server.clone().start();
    let of = format!("127.0.0.1 {}", master.port());
    let replica = server.arg("--replicaof").arg(&of);
    let replicas: Vec<_> = (0..count).map(|_| replica.clone().start()).collect();
    let are_online = || {
        let info = master.call(&["INFO", "replication"]).text().unwrap();
        info.matches("state=online").count() == count && !info.contains(",offset=0,")
    };
    assert!(eventually(Duration::from_secs(20), are_online));
    (master, replicas)
}

fn is_unacknowledged(error: &Error, says: &str) -> bool {
    matches!(error, Error::Unavailable(_)) && error.to_string().contains(says)
}

#[tokio::test]
async fn hold_counts_once_replicas_acknowledge() {
    let (master, replicas) = replicated(Server::builder(), 2);
    let client = client(&master.url()).await;
    for needed in [1, 2] {
        let lock = client.lock(&unique_name()).replicas(needed);
        let guard = lock.acquire().await.unwrap();
        let key = format!("arbiter:{}", lock.name().unwrap());
        let has_it = |server: &Server| server.call(&["EXISTS", &key]).int() == Some(1);
        let count = replicas.iter().filter(|replica| has_it(replica)).count();
        assert!(needed as usize <= count, "{count} of {needed}");
        guard.refresh().await.unwrap();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn unacknowledged_grant_is_released_at_once() {
    let (master, _replica) = replicated(Server::builder(), 1);
    let reported = Arc::new(AtomicUsize::new(0));
    let counter = reported.clone();
    let builder = Client::builder().store(&master.url());
    let builder = builder.logger(move |event: &Event| {
        if matches!(event, Event::NotServed { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let client = builder.connect().await.unwrap();
    let name = unique_name();
    let lock = client.lock(&name).replicas(2);
    let begun = Instant::now();
    let error = lock.try_acquire().await.unwrap_err();
    assert!(is_unacknowledged(&error, "1 of 2 acknowledged"), "{error}");
    assert!(begun.elapsed() < ms(2_000));
    let is_free = || master.call(&["EXISTS", &format!("arbiter:{name}")]).int() == Some(0);
    assert!(eventually(ms(2_000), is_free));
    // It is not tried again, and no event reports that.
    client.testing().deliver_events();
    assert_eq!(reported.load(Ordering::Relaxed), 0);
    let lock = lock.wait_timeout(ms(1_500));
    let error = lock.acquire().await.unwrap_err();
    assert!(is_unacknowledged(&error, "1 of 2 acknowledged"), "{error}");
    assert!(ms(1_000) < begun.elapsed());
    assert!(eventually(ms(2_000), is_free));
    client.testing().deliver_events();
    assert_eq!(reported.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn acquire_waits_for_a_replica_to_resume() {
    let (master, replicas) = replicated(Server::builder(), 1);
    let client = client(&master.url()).await;
    replicas[0].stop();
    let lock = client.lock(&unique_name()).replicas(1);
    let lock = lock.wait_timeout(ms(10_000));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(800)).await;
    assert!(!waiting.is_finished());
    // Others are not delayed meanwhile.
    let begun = Instant::now();
    let other = client.lock(&unique_name()).acquire().await.unwrap();
    other.release().await.unwrap();
    assert!(begun.elapsed() < ms(200), "{:?}", begun.elapsed());
    replicas[0].cont();
    waiting.await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn unacknowledged_renewal_does_not_extend_the_hold() {
    let (master, replicas) = replicated(Server::builder(), 1);
    let client = client(&master.url()).await;
    let lease = ms(1_000);
    let acknowledged = client.lock(&unique_name()).lease_time(lease).replicas(1);
    let guard = acknowledged.acquire().await.unwrap();
    let other = client.lock(&unique_name()).lease_time(lease);
    let other = other.acquire().await.unwrap();
    replicas[0].stop();
    let begun = Instant::now();
    let loss = tokio::time::timeout(ms(3_000), guard.lost()).await.unwrap();
    assert!(begun.elapsed() < lease, "{loss}");
    assert!(other.is_held());
    replicas[0].cont();
    assert!(other.is_held());
}

#[tokio::test]
async fn handed_over_hold_is_acknowledged_too() {
    let (master, replicas) = replicated(Server::builder(), 1);
    let (client, other) = (client(&master.url()).await, client(&master.url()).await);
    let name = unique_name();
    let guard = client.lock(&name).acquire().await.unwrap();
    let lock = other.lock(&name).replicas(1).wait_timeout(ms(3_000));
    let waiter = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(300)).await;
    replicas[0].stop();
    guard.release().await.unwrap();
    let error = waiter.await.unwrap().unwrap_err();
    assert!(is_unacknowledged(&error, "0 of 1 acknowledged"), "{error}");
    // It did not keep a lock that it could not use.
    let guard = client.lock(&name).wait_timeout(ms(2_000)).acquire().await;
    guard.unwrap().release().await.unwrap();
    replicas[0].cont();
}

#[tokio::test]
async fn every_primitive_is_acknowledged() {
    let (master, replicas) = replicated(Server::builder(), 1);
    let builder = Client::builder().store(&master.url()).logger(NoopLogger);
    let client = builder.default_replicas(1).connect().await.unwrap();
    let rw = || client.rw_lock(&unique_name()).wait_timeout(Duration::ZERO);
    let permits = || client.semaphore(&unique_name(), 2);
    let permits = || permits().wait_timeout(Duration::ZERO);
    rw().read().await.unwrap().release().await.unwrap();
    let writer = rw().write().await.unwrap();
    writer.downgrade().await.unwrap();
    writer.release().await.unwrap();
    permits().acquire().await.unwrap().release().await.unwrap();
    replicas[0].stop();
    for error in [
        rw().read().await.unwrap_err(),
        rw().write().await.unwrap_err(),
        permits().acquire().await.unwrap_err(),
    ] {
        assert!(is_unacknowledged(&error, "0 of 1 acknowledged"), "{error}");
    }
    replicas[0].cont();
}

#[tokio::test]
async fn record_of_a_run_is_acknowledged() {
    let (master, replicas) = replicated(Server::builder(), 1);
    let client = client(&master.url()).await;
    let name = unique_name();
    let job = client
        .once(&name)
        .every(Duration::from_secs(60))
        .replicas(1);
    let Begun::Run(run) = job.begin().await.unwrap() else {
        panic!("it never ran");
    };
    let outcome = |server: &Server| {
        let key = companion(&format!("arbiter:{name}"), "run");
        server.call(&["HGET", &key, "outcome"]).text()
    };
    replicas[0].stop();
    let finishing = tokio::spawn(run.finish(Ok("done")));
    tokio::time::sleep(ms(700)).await;
    assert!(!finishing.is_finished(), "{:?}", outcome(&master));
    replicas[0].cont();
    finishing.await.unwrap().unwrap();
    assert!(outcome(&replicas[0]).is_some());
}

/// Returns a binary that knows `WAITAOF`.
fn newer_server() -> Option<std::path::PathBuf> {
    let flavours = testkit::flavours();
    let knows = |binary: &std::path::Path| {
        let server = Server::builder().binary(binary).start();
        let help = server.call(&["COMMAND", "INFO", "WAITAOF"]);
        format!("{help:?}").contains("waitaof")
    };
    let mut binaries = flavours.into_iter().map(|flavour| flavour.binary);
    binaries.find(|binary| knows(binary))
}

#[tokio::test]
async fn durable_hold_is_on_disk() {
    let old = Server::start();
    let lock = client(&old.url()).await.lock("l").durable(true);
    let error = lock.try_acquire().await.unwrap_err();
    if let Error::Refused(refused) = &error {
        assert_eq!(refused.kind, RefusedKind::Unsupported, "{error}");
    }
    let Some(binary) = newer_server() else {
        return;
    };
    let server = Server::builder().binary(&binary);
    let server = server.arg("--appendonly").arg("yes").start();
    let client = client(&server.url()).await;
    let lock = client.lock("l").durable(true);
    let guard = lock.acquire().await.unwrap();
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
    let error = lock.replicas(1).try_acquire().await.unwrap_err();
    assert!(is_unacknowledged(&error, "0 of 1 acknowledged"), "{error}");
}

#[tokio::test]
async fn stores_without_replicas_refuse_the_option() {
    let server = Server::start();
    let folder = testkit::Folder::new();
    for (url, needed) in [
        ("memory:", Replicas::AtLeast(1)),
        (&folder.url(), Replicas::AtLeast(1)),
        (&folder.url(), Replicas::All),
        (&server.url(), Replicas::All),
    ] {
        let client = client(url).await;
        let lock = client.lock("l").replicas(needed);
        let error = lock.try_acquire().await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{url}: {error}");
        assert!(client.lock("l").replicas(0).try_acquire().await.is_ok());
    }
    let client = client("memory:").await;
    let error = client
        .lock("l")
        .durable(true)
        .try_acquire()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

#[tokio::test]
async fn denied_wait_of_a_waiter_is_refused() {
    let (master, _replica) = replicated(Server::builder(), 1);
    master.call(&[
        "ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-wait",
    ]);
    let holder = client(&master.url()).await;
    let waiting = client(&format!("redis://u:p@127.0.0.1:{}", master.port())).await;
    let guard = holder.lock("l").acquire().await.unwrap();
    let lock = waiting.lock("l").replicas(1).wait_timeout(ms(10_000));
    let waiter = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(300)).await;
    let begun = Instant::now();
    guard.release().await.unwrap();
    let error = waiter.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
}

/// A claim in the same millisecond as the grant would prolong nothing.
#[tokio::test]
async fn claim_of_a_short_lease_is_acknowledged() {
    let binary = newer_server().unwrap_or_else(testkit::server_binary);
    let (master, replicas) = replicated(Server::builder().binary(&binary), 1);
    let (client, other) = (client(&master.url()).await, client(&master.url()).await);
    for _ in 0..10 {
        let name = unique_name();
        // Its connection is dialed by then.
        let warm = other.lock(&unique_name()).replicas(1);
        warm.acquire().await.unwrap().release().await.unwrap();
        let guard = client.lock(&name).acquire().await.unwrap();
        let lock = other.lock(&name).replicas(1).lease_time(ms(1_000));
        let lock = lock.wait_timeout(ms(1_500));
        let waiter = tokio::spawn(async move { lock.acquire().await });
        tokio::time::sleep(ms(50)).await;
        replicas[0].stop();
        guard.release().await.unwrap();
        let error = waiter.await.unwrap().unwrap_err();
        replicas[0].cont();
        assert!(is_unacknowledged(&error, "0 of 1 acknowledged"), "{error}");
    }
}

#[tokio::test]
async fn denied_wait_is_refused() {
    let (master, _replica) = replicated(Server::builder(), 1);
    master.call(&[
        "ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-wait",
    ]);
    let url = format!("redis://u:p@127.0.0.1:{}", master.port());
    let client = client(&url).await;
    let error = client.lock("l").replicas(1).acquire().await.unwrap_err();
    let Error::Refused(refused) = &error else {
        panic!("{error}");
    };
    assert_eq!(refused.kind, RefusedKind::Denied, "{error}");
    let is_free = || master.call(&["EXISTS", "arbiter:l"]).int() == Some(0);
    assert!(eventually(ms(2_000), is_free));
}

#[tokio::test]
async fn all_includes_replicas_that_are_down() {
    let mut group = SentinelGroup::start();
    let client = client(&group.url()).await;
    let lock = client.lock(&unique_name()).replicas(Replicas::All);
    lock.acquire().await.unwrap().release().await.unwrap();
    group.servers[2].kill();
    let is_gone = || {
        let info = group.servers[0].call(&["INFO", "replication"]);
        info.text().unwrap().contains("connected_slaves:1")
    };
    assert!(eventually(ms(5_000), is_gone));
    let error = lock.try_acquire().await.unwrap_err();
    assert!(is_unacknowledged(&error, "1 of 2 acknowledged"), "{error}");
    let one = client.lock(&unique_name()).replicas(1);
    one.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn all_replicas_of_the_slots_node_acknowledge() {
    let cluster = Cluster::builder().replicas(1).start();
    let client = client(&cluster.url()).await;
    for node in 0..3 {
        let lock = client.lock(&cluster.name_on(node, "arbiter:"));
        let lock = lock.replicas(Replicas::All);
        lock.acquire().await.unwrap().release().await.unwrap();
        cluster.nodes[3 + node].stop();
        let error = lock.try_acquire().await.unwrap_err();
        assert!(is_unacknowledged(&error, "0 of 1 acknowledged"), "{error}");
        cluster.nodes[3 + node].cont();
    }
}

#[tokio::test]
async fn script_unknown_to_the_server_is_acknowledged() {
    let (master, _replica) = replicated(Server::builder(), 1);
    let client = client(&master.url()).await;
    for _ in 0..3 {
        master.call(&["SCRIPT", "FLUSH"]);
        let locks = (0..8).map(|_| client.lock(&unique_name()).replicas(1));
        let acquired = futures_util::future::join_all(locks.map(|lock| async move {
            lock.acquire().await.unwrap().release().await.unwrap();
        }));
        acquired.await;
    }
}
