//! Faults of clusters: partitions, all nodes down, slots without a node, and programs that end.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, ClientBuilder, Error, LostReason, NoopLogger};
use testkit::{Cluster, Reply, Server, Traffic, companion, eventually_async};

use crate::cluster::PREFIX;
use crate::sentinel::{mapped, owner, proxies};
use crate::{acquire_and_release, one_worker};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// When the nodes of the testkit consider a node dead.
const NODE_TIMEOUT: Duration = ms(1_500);

fn builder(url: &str) -> ClientBuilder {
    Client::builder().store(url).logger(NoopLogger)
}

async fn client(url: &str) -> Client {
    builder(url).connect().await.unwrap()
}

/// Returns the connections that each node has from clients of that name.
fn connections(cluster: &Cluster, name: &str) -> Vec<usize> {
    let named = format!(" name={name} ");
    let count = |server: &Server| {
        let list = server.call(&["CLIENT", "LIST"]).text().unwrap();
        list.lines().filter(|line| line.contains(&named)).count()
    };
    cluster.nodes.iter().map(count).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_cut_off_with_old_master_loses_holds() {
    let lease = ms(3_000);
    let cluster = Cluster::builder().replicas(1).start();
    let bus = cluster.bus();
    let name = cluster.name_on(0, PREFIX);
    let (proxies, ports) = proxies(&cluster.nodes[1..]);
    let inside = builder(&cluster.url_of(&[0])).map_address(mapped(ports));
    let inside = inside.connect().await.unwrap();
    let outside = client(&cluster.url()).await;
    let guard = inside.lock(&name).lease_time(lease).acquire().await;
    let guard = guard.unwrap();
    let fence = guard.fence();
    let other = outside.lock(&name).wait_timeout(ms(20_000));
    let waiting = tokio::spawn(async move { (other.acquire().await.unwrap(), Instant::now()) });
    tokio::time::sleep(ms(1_100)).await;
    bus.cut_off(&[0]);
    let silent = |proxy: &testkit::Proxy| proxy.set_traffic(Traffic::Silent);
    proxies.iter().for_each(silent);
    let cut = Instant::now();
    let reason = tokio::time::timeout(ms(20_000), guard.lost()).await;
    let lost = Instant::now();
    // It answers that it does not serve.
    assert_eq!(reason, Ok(LostReason::NotRenewed));
    println!("lost after {:?}", lost.duration_since(cut));
    assert!(lost.duration_since(cut) < NODE_TIMEOUT + lease + ms(500));
    let (next, granted) = waiting.await.unwrap();
    println!("granted after {:?}", granted.duration_since(cut));
    assert!(lost <= granted && fence < next.fence());
    let error = inside.lock(&name).try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    bus.heal();
    proxies
        .iter()
        .for_each(|proxy| proxy.set_traffic(Traffic::Flowing));
    let again = inside.lock(&name).wait_timeout(ms(10_000));
    let waiting = tokio::spawn(async move { again.acquire().await });
    tokio::time::sleep(ms(2_500)).await;
    assert!(next.is_held());
    next.release().await.unwrap();
    let again = waiting.await.unwrap().unwrap();
    let owned = owner(&cluster.nodes[3], &name);
    assert_eq!(owned.as_deref(), Some(again.owner()));
}

/// Waits until a node is a master.
async fn is_promoted(node: &Server) -> bool {
    let is_master = || {
        node.call(&["ROLE"])
            .texts()
            .first()
            .is_some_and(|r| r == "master")
    };
    eventually_async(ms(15_000), is_master).await
}

/// The client reaches all nodes, and the node that it asks for the map is cut off from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn map_of_a_cut_off_node_is_ignored() {
    let cluster = Cluster::builder().replicas(1).start();
    let bus = cluster.bus();
    let name = cluster.name_on(0, PREFIX);
    let client = client(&cluster.url_of(&[0])).await;
    acquire_and_release(&client.lock(&name)).await;
    bus.cut_off(&[0]);
    assert!(is_promoted(&cluster.nodes[3]).await);
    let promoted = Instant::now();
    let lock = client.lock(&name).wait_timeout(ms(5_000));
    let guard = lock.acquire().await.unwrap();
    println!("granted {:?} after the promotion", promoted.elapsed());
    assert!(promoted.elapsed() < ms(1_500), "{:?}", promoted.elapsed());
    let owned = owner(&cluster.nodes[3], &name);
    assert_eq!(owned.as_deref(), Some(guard.owner()));
    bus.heal();
    guard.release().await.unwrap();
}

/// The nodes of a shard deliver each other's messages. A master that was replaced, and has not
/// noticed yet, may still grant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_of_another_node_is_ignored() {
    let cluster = Cluster::builder().replicas(1).start();
    let (master, other) = (&cluster.nodes[0], &cluster.nodes[3]);
    let name = cluster.name_on(0, PREFIX);
    let client = client(&cluster.url()).await;
    let guard = client.lock(&name).acquire().await.unwrap();
    let lock = client.lock(&name);
    let waiter = tokio::spawn(async move { lock.acquire().await });
    let channels = || master.call(&["PUBSUB", "SHARDCHANNELS"]).texts();
    assert!(eventually_async(ms(2_000), || !channels().is_empty()).await);
    let queue = companion(&format!("{PREFIX}{name}"), "queue");
    let queued = master.call(&["ZRANGE", &queue, "0", "-1"]).texts();
    let body = queued.iter().find_map(|record| record.strip_prefix('w'));
    let request = body.unwrap().split(' ').next().unwrap().to_owned();
    let (now, id) = (
        master.time(),
        other.call(&["CLUSTER", "MYID"]).text().unwrap(),
    );
    for node in ["", &format!(" {id}")] {
        let grant = format!("{request} {} 2000 {now}{node}", guard.fence() + 1);
        other.call(&["SPUBLISH", &channels()[0], &grant]);
        tokio::time::sleep(ms(300)).await;
        assert!(!waiter.is_finished(), "{grant}");
    }
    guard.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
}

/// A node does not know yet of a move that the answer to a request has shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirection_outweighs_a_node_that_lags() {
    let cluster = Cluster::builder().replicas(1).start();
    let bus = cluster.bus();
    let name = cluster.name_on(0, PREFIX);
    let builder = builder(&cluster.url_of(&[1])).client_name("one");
    let client = builder.connect().await.unwrap();
    let guard = client.lock(&name).lease_time(ms(30_000)).acquire().await;
    assert_eq!(
        connections(&cluster, "one")[0],
        2,
        "the keeper has one, too"
    );
    bus.cut_off(&[1]);
    cluster.nodes[3].call(&["CLUSTER", "FAILOVER"]);
    assert!(is_promoted(&cluster.nodes[3]).await);
    let lock = client.lock(&name).wait_timeout(ms(2_000));
    lock.inspect().await.unwrap();
    let is_retired = || connections(&cluster, "one")[0] == 0;
    assert!(eventually_async(ms(500), is_retired).await);
    bus.heal();
    guard.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_map_with_one_node_left_is_renewed() {
    let mut cluster = Cluster::builder().replicas(1).start();
    let names = [0, 1, 2].map(|node| cluster.name_on(node, PREFIX));
    let client = client(&cluster.url()).await;
    acquire_and_release(&client.lock(&names[0])).await;
    for node in [1, 2] {
        cluster.nodes[node].kill();
        cluster.wait_for_new_master(node);
    }
    let begun = Instant::now();
    for name in &names {
        let guard = client.lock(name).try_acquire().await.unwrap();
        guard.unwrap().release().await.unwrap();
    }
    println!("all served after {:?}", begun.elapsed());
    assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_cluster_serves_again() {
    let mut cluster = Cluster::start();
    let names = [0, 1, 2].map(|node| cluster.name_on(node, PREFIX));
    let client = client(&cluster.url()).await;
    let lock = client.lock(&names[0]).lease_time(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    cluster.nodes.iter_mut().for_each(Server::kill);
    let begun = Instant::now();
    let error = lock.try_acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(begun.elapsed() < ms(2_050), "{:?}", begun.elapsed());
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    let waiting = names.clone().map(|name| {
        let lock = client.lock(&name).wait_timeout(ms(20_000));
        tokio::spawn(async move { lock.acquire().await.map(|guard| (guard, Instant::now())) })
    });
    cluster.nodes.iter_mut().for_each(Server::restart);
    cluster.wait_until_settled();
    let settled = Instant::now();
    for waiting in waiting {
        let (next, granted) = waiting.await.unwrap().unwrap();
        let late = granted.saturating_duration_since(settled);
        println!("granted {late:?} after the nodes have settled");
        assert!(late < ms(1_200), "{late:?}");
        assert!(next.name() != guard.name() || guard.fence() < next.fence());
    }
}

/// Makes a cluster forget everything, and gives each node the slots of the one before it.
fn replace(cluster: &Cluster) {
    let expect_ok = |node: &Server, args: &[&str]| {
        let ok = Reply::Simple("OK".to_owned());
        assert_eq!(node.call(args), ok, "{args:?}");
    };
    for node in &cluster.nodes {
        expect_ok(node, &["FLUSHALL"]);
        expect_ok(node, &["CLUSTER", "RESET", "HARD"]);
    }
    let count = cluster.nodes.len();
    for (n, node) in cluster.nodes.iter().enumerate() {
        let range = (n + count - 1) % count;
        let first = (range * 16_384 / count).to_string();
        let last = ((range + 1) * 16_384 / count - 1).to_string();
        expect_ok(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
        expect_ok(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        let (port, bus) = (node.port().to_string(), node.bus_port().to_string());
        for other in &cluster.nodes[..n] {
            expect_ok(other, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
    }
    cluster.wait_until_settled();
}

/// Its epochs are lower than those that the client knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_cluster_behind_same_addresses_serves() {
    let cluster = Cluster::start();
    for node in cluster.nodes.iter().cycle().take(9) {
        node.call(&["CLUSTER", "BUMPEPOCH"]);
    }
    cluster.wait_until_settled();
    let client = client(&cluster.url()).await;
    let names = [0, 1, 2].map(|node| cluster.name_on(node, PREFIX));
    let guard = client.lock(&names[0]).acquire().await.unwrap();
    for name in &names {
        let lock = client.lock(name).wait_timeout(ms(500));
        let _ = lock.acquire().await;
    }
    replace(&cluster);
    assert_eq!(cluster.master_of(&format!("{PREFIX}{}", names[0])), 1);
    let reason = tokio::time::timeout(ms(11_000), guard.lost()).await;
    assert_eq!(reason, Ok(LostReason::Deleted));
    for name in &names {
        let begun = Instant::now();
        acquire_and_release(&client.lock(name)).await;
        assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    }
    // By now the whole map is known, so no request is redirected.
    tokio::time::sleep(ms(500)).await;
    let redirected = || {
        let stats = |node: &Server| node.call(&["INFO", "errorstats"]).text().unwrap();
        let moved = |stats: String| {
            let count = stats.split("errorstat_MOVED:count=").nth(1)?;
            count.split_whitespace().next()?.parse::<u64>().ok()
        };
        let counts = cluster.nodes.iter().map(|node| moved(stats(node)));
        counts.map(Option::unwrap_or_default).sum::<u64>()
    };
    let before = redirected();
    for node in 0..3 {
        acquire_and_release(&client.lock(&cluster.name_on(node, PREFIX))).await;
    }
    assert_eq!(redirected(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slot_without_a_node_is_unavailable() {
    let cluster = Cluster::start();
    let name = cluster.name_on(0, PREFIX);
    let slot = cluster.slot(&format!("{PREFIX}{name}")).to_string();
    let client = client(&cluster.url()).await;
    let lock = client.lock(&name).lease_time(ms(30_000));
    let guard = lock.acquire().await.unwrap();
    let all = |args: &[&str]| cluster.nodes.iter().for_each(|node| drop(node.call(args)));
    all(&["CLUSTER", "DELSLOTS", &slot]);
    let is_down = |node: &Server| {
        let info = node.call(&["CLUSTER", "INFO"]).text().unwrap();
        info.contains("cluster_state:fail")
    };
    let are_down = || cluster.nodes.iter().all(is_down);
    assert!(eventually_async(ms(5_000), are_down).await);
    let other = client.lock(&cluster.name_on(1, PREFIX));
    for lock in [&lock, &other] {
        let begun = Instant::now();
        let error = lock.try_acquire().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        assert!(begun.elapsed() < ms(2_050), "{:?}", begun.elapsed());
        let begun = Instant::now();
        let waiting = lock.clone().wait_timeout(ms(700));
        let error = waiting.acquire().await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        assert!(begun.elapsed() < ms(750), "{:?}", begun.elapsed());
    }
    let waiting = tokio::spawn(async move {
        let lock = other.wait_timeout(ms(15_000));
        acquire_and_release(&lock).await;
        Instant::now()
    });
    cluster.nodes[0].call(&["CLUSTER", "ADDSLOTS", &slot]);
    cluster.wait_until_settled();
    let settled = Instant::now();
    let served = waiting.await.unwrap();
    let late = served.saturating_duration_since(settled);
    println!("served {late:?} after the nodes have settled");
    assert!(late < ms(1_200), "{late:?}");
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
}

#[test]
fn hold_outlives_its_runtime_and_connections_end() {
    let cluster = Cluster::start();
    let names = [0, 1].map(|node| cluster.name_on(node, PREFIX));
    let runtime = one_worker();
    let client = runtime.block_on(builder(&cluster.url()).client_name("mine").connect());
    let client = client.unwrap();
    // One more connection queries for the map.
    assert_eq!(connections(&cluster, "mine").iter().sum::<usize>(), 1);
    let guards = names.map(|name| {
        let lock = client.lock(&name).lease_time(ms(1_500));
        runtime.block_on(lock.acquire()).unwrap()
    });
    std::thread::sleep(ms(1_000)); // until both were renewed
    let all = || connections(&cluster, "mine").iter().sum::<usize>();
    assert_eq!(all(), 2 * 2 + 1);
    drop(runtime);
    assert!(testkit::eventually(ms(1_000), || all() == 2 + 1));
    std::thread::sleep(ms(2_000));
    assert!(guards.iter().all(|guard| guard.is_held()));
    let runtime = one_worker();
    for guard in guards {
        runtime.block_on(guard.release()).unwrap();
    }
    assert_eq!(all(), 2 * 2 + 1);
    drop(client);
    let none = || connections(&cluster, "mine") == [0; 3];
    assert!(testkit::eventually(ms(1_000), none));
    drop(runtime);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_with_a_node_down_ends_in_time() {
    let mut cluster = Cluster::start();
    for is_killed in [false, true] {
        let names = [0, 1].map(|node| cluster.name_on(node, PREFIX));
        let client = client(&cluster.url()).await;
        let [down, up] = names.map(|name| client.lock(&name));
        let (down, up) = (down.acquire().await.unwrap(), up.acquire().await.unwrap());
        match is_killed {
            false => cluster.nodes[0].stop(),
            true => cluster.nodes[0].kill(),
        }
        let name = up.name().to_owned();
        drop((down, up));
        let begun = Instant::now();
        assert_eq!(client.shutdown(ms(1_000)).await, 1);
        assert!(begun.elapsed() < ms(1_300), "{:?}", begun.elapsed());
        assert_eq!(owner(&cluster.nodes[1], &name), None);
        let begun = Instant::now();
        drop(client);
        assert!(begun.elapsed() < ms(600), "{:?}", begun.elapsed());
        if !is_killed {
            cluster.nodes[0].cont();
            cluster.wait_until_settled();
        }
    }
}
