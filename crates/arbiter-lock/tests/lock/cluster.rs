//! Clusters: failovers, dead nodes and partitions.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock::{Error, Guard, Lock, LostReason};
use futures_util::future::join_all;
use testkit::{Cluster, Proxy, Reply, Server, Traffic, eventually_async, unique_name};

use crate::acquire_and_release;
use crate::sentinel::{Events, builder, client, mapped, owner, proxies, queue};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A lease that survives a killed master: it covers 1.5 s until the death is noticed, and the
/// election.
const LEASE: Duration = ms(9_000);

pub(crate) const PREFIX: &str = "arbiter:";

fn replicated() -> Cluster {
    Cluster::builder().replicas(1).start()
}

/// Waits until the replica has all writes of its master.
async fn replicate(master: &Server, replica: &Server) {
    let offset = |server: &Server, field: &str| {
        let info = server.call(&["INFO", "replication"]).text().unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix(field));
        line.map(str::to_owned)
    };
    let has_all = || {
        let sent = offset(master, "master_repl_offset:");
        sent == offset(replica, "slave_repl_offset:")
    };
    assert!(eventually_async(ms(5_000), has_all).await);
}

/// Returns how many connections for requests a node has from clients of that name.
fn connections(server: &Server, name: &str) -> usize {
    let list = server.call(&["CLIENT", "LIST"]).text().unwrap();
    let named = format!(" name={name} ");
    let of_requests = |line: &&str| line.contains(&named) && !line.contains(" cmd=cluster");
    list.lines().filter(of_requests).count()
}

/// Waits until node 3 writes keys of that slot, and returns when it did.
async fn accepts_writes(cluster: Arc<Cluster>, name: String) -> Instant {
    let key = format!("{{{PREFIX}{name}}}");
    let ok = Reply::Simple("OK".to_owned());
    while cluster.nodes[3].call(&["SET", &key, "1"]) != ok {
        tokio::time::sleep(ms(2)).await;
    }
    Instant::now()
}

/// Returns how long after the new master of shard 0 accepts writes a waiting acquire is granted.
async fn first_grant_late_by(cluster: &Arc<Cluster>, lock: Lock, begin: impl FnOnce()) -> Duration {
    begin();
    let name = lock.name().unwrap().to_owned();
    let accepting = tokio::spawn(accepts_writes(cluster.clone(), name));
    let guard = lock.acquire().await.unwrap();
    let granted = Instant::now();
    guard.release().await.unwrap();
    granted.saturating_duration_since(accepting.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graceful_failover_keeps_holds_and_queue_order() {
    let (cluster, events) = (replicated(), Events::default());
    let name = cluster.name_on(0, PREFIX);
    let builder = builder(&cluster.url(), &events).client_name("holders");
    let client = builder.connect().await.unwrap();
    let lock = client.lock(&name).lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    let waiters = queue(&lock, 16).await;
    let new = cluster.failover(0);
    // The first request of a renewal or a waiter finds the new master.
    let is_renewed = || {
        let ttl = cluster.nodes[new].call(&["PTTL", &format!("{PREFIX}{name}")]);
        2_500 <= ttl.int().unwrap_or_default() && connections(&cluster.nodes[0], "holders") == 0
    };
    assert!(eventually_async(ms(2_500), is_renewed).await);
    let is_told = || {
        let events = events.lock().unwrap();
        events.iter().any(|event| event.contains("replaced"))
    };
    assert!(is_told(), "{events:?}");
    assert!(guard.is_held());
    let mut fence = guard.fence();
    guard.release().await.unwrap();
    let begun = Instant::now();
    for waiter in waiters {
        let granted = waiter.await.unwrap().unwrap();
        assert!(fence < granted.fence());
        let owned = owner(&cluster.nodes[new], &name);
        assert_eq!(owned.as_deref(), Some(granted.owner()));
        fence = granted.fence();
        granted.release().await.unwrap();
    }
    assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_master_is_replaced_without_delay() {
    let mut cluster = replicated();
    let (name, fresh) = (cluster.name_on(0, PREFIX), cluster.name_on(0, PREFIX));
    let client = client(&cluster.url()).await;
    let lock = client.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let mut waiters = queue(&lock, 1).await;
    replicate(&cluster.nodes[0], &cluster.nodes[3]).await;
    cluster.nodes[0].kill();
    let cluster = Arc::new(cluster);
    let lock = client.lock(&fresh).wait_timeout(ms(15_000));
    let late = first_grant_late_by(&cluster, lock, || {}).await;
    println!("first grant: {late:?}");
    assert!(late < ms(500), "{late:?}");
    assert!(guard.is_held());
    let owned = owner(&cluster.nodes[3], &name);
    assert_eq!(owned.as_deref(), Some(guard.owner()));
    guard.release().await.unwrap();
    let next = waiters.pop().unwrap().await.unwrap().unwrap();
    assert!(next.is_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_master_is_replaced_and_grants_nothing() {
    let cluster = Arc::new(replicated());
    let name = cluster.name_on(0, PREFIX);
    let (holders, others) = (client(&cluster.url()).await, client(&cluster.url()).await);
    let lock = holders.lock(&name).lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    let fence = guard.fence();
    replicate(&cluster.nodes[0], &cluster.nodes[3]).await;
    let losing = tokio::spawn(async move { (guard.lost().await, Instant::now()) });
    let other = others.lock(&name).wait_timeout(ms(15_000));
    let waiting = tokio::spawn(async move { (other.acquire().await.unwrap(), Instant::now()) });
    let fresh = cluster.name_on(0, PREFIX);
    let fresh = others.lock(&fresh).wait_timeout(ms(15_000));
    let late = first_grant_late_by(&cluster, fresh, || cluster.nodes[0].stop()).await;
    println!("first grant: {late:?}");
    assert!(late < ms(1_500), "{late:?}");
    let (next, granted) = waiting.await.unwrap();
    let (reason, lost) = losing.await.unwrap();
    assert!(lost <= granted, "{:?}", lost.duration_since(granted));
    assert_eq!(reason, LostReason::Unreachable);
    assert!(fence < next.fence());
    cluster.nodes[0].cont();
    let until = Instant::now() + ms(1_500);
    while Instant::now() < until {
        assert!(lock.try_acquire().await.unwrap().is_none());
        tokio::time::sleep(ms(10)).await;
    }
    assert!(next.is_held());
    next.release().await.unwrap();
}

/// The grant is on the master only, which is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreplicated_hold_is_lost_at_once() {
    let mut cluster = replicated();
    let name = cluster.name_on(0, PREFIX);
    let client = client(&cluster.url()).await;
    let lock = client.lock(&name).lease_time(ms(30_000));
    acquire_and_release(&lock).await;
    replicate(&cluster.nodes[0], &cluster.nodes[3]).await;
    cluster.nodes[3].stop();
    cluster.nodes[0].call(&["CLIENT", "KILL", "TYPE", "replica"]);
    let guard = lock.acquire().await.unwrap();
    cluster.nodes[0].kill();
    cluster.nodes[3].cont();
    let cluster = Arc::new(cluster);
    let accepting = tokio::spawn(accepts_writes(cluster.clone(), name));
    let reason = tokio::time::timeout(ms(20_000), guard.lost())
        .await
        .unwrap();
    let lost = Instant::now();
    let late = lost.saturating_duration_since(accepting.await.unwrap());
    println!("lost: {late:?}");
    assert_eq!(reason, LostReason::Deleted);
    assert!(late < ms(1_000), "{late:?}");
    let next = lock.acquire().await.unwrap();
    assert!(guard.fence() < next.fence());
}

/// How a node stops to answer, and answers again.
enum Death {
    Paused,
    Silent,
    Refusing,
}

impl Death {
    fn begin(&self, server: &Server, proxy: &Proxy) {
        match self {
            Self::Paused => server.stop(),
            Self::Silent => proxy.set_traffic(Traffic::Silent),
            Self::Refusing => {
                proxy.set_traffic(Traffic::Refused);
                proxy.cut_all();
            }
        }
    }

    fn end(&self, server: &Server, proxy: &Proxy) {
        match self {
            Self::Paused => server.cont(),
            Self::Silent | Self::Refusing => proxy.set_traffic(Traffic::Flowing),
        }
    }
}

/// Acquires and releases until the time is over. Returns the longest that it took.
async fn longest_cycle(lock: Lock, until: Instant) -> Duration {
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        let begun = Instant::now();
        acquire_and_release(&lock).await;
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(ms(5)).await;
    }
    longest
}

/// Holds 200 locks on three nodes while one of them is dead for 4 s.
async fn dead_node_delays_no_other(death: Death) {
    let server = Server::builder().arg("--cluster-require-full-coverage");
    let cluster = Cluster::builder().server(server.arg("no")).start();
    let (proxies, ports) = proxies(&cluster.nodes);
    let hosts = [1, 0, 2].map(|node: usize| format!("127.0.0.1:{}", proxies[node].port()));
    let url = format!("redis+cluster://{}", hosts.join(","));
    let connect = || {
        let builder = builder(&url, &Events::default());
        builder.map_address(mapped(ports.clone())).connect()
    };
    let (client, other) = (connect().await.unwrap(), connect().await.unwrap());
    let guards = join_all((0..200).map(|_| {
        let lock = client.lock(&unique_name()).lease_time(ms(3_000));
        async move { lock.acquire().await.unwrap() }
    }));
    let guards: Vec<Guard> = guards.await;
    let on_dead: HashSet<String> = cluster.nodes[1].keys().into_iter().collect();
    let is_on_dead = |guard: &&Guard| on_dead.contains(&format!("{PREFIX}{}", guard.name()));
    let (doomed, safe): (Vec<_>, Vec<_>) = guards.iter().partition(is_on_dead);
    assert!(!doomed.is_empty() && !safe.is_empty());
    let (live, dead) = (cluster.name_on(0, PREFIX), cluster.name_on(1, PREFIX));
    let until = Instant::now() + ms(4_000);
    death.begin(&cluster.nodes[1], &proxies[1]);
    let cycles = tokio::spawn(longest_cycle(client.lock(&live), until));
    let first_cycle = connect().await.unwrap();
    let begun = Instant::now();
    acquire_and_release(
        &first_cycle
            .lock(&cluster.name_on(2, PREFIX))
            .wait_timeout(ms(1_000)),
    )
    .await;
    println!("first cycle of a client: {:?}", begun.elapsed());
    // A try ends within two seconds, and a wait in time.
    let (trying, waiting) = (client.lock(&dead), client.lock(&dead).wait_timeout(ms(900)));
    let begun = Instant::now();
    let error = trying.try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < ms(2_050), "{:?}", begun.elapsed());
    let begun = Instant::now();
    let error = waiting.acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < ms(950), "{:?}", begun.elapsed());
    let longest = cycles.await.unwrap();
    println!("longest cycle elsewhere: {longest:?}");
    assert!(longest < ms(200), "{longest:?}");
    let lost = doomed.iter().filter(|guard| !guard.is_held()).count();
    assert_eq!(lost, doomed.len());
    death.end(&cluster.nodes[1], &proxies[1]);
    for guard in &doomed {
        let lock = other.lock(guard.name()).wait_timeout(ms(5_000));
        let next = lock.acquire().await.unwrap();
        assert!(guard.fence() < next.fence());
    }
    assert!(safe.iter().all(|guard| guard.is_held()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_node_delays_no_other() {
    dead_node_delays_no_other(Death::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_node_delays_no_other() {
    dead_node_delays_no_other(Death::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusing_node_delays_no_other() {
    dead_node_delays_no_other(Death::Refusing).await;
}
