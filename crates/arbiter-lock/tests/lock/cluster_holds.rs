//! Clusters: shared holds whose slot moves, names of many slots, and the cost of requests.

use std::time::Duration;

use arbiter_lock::Client;
use testkit::{Cluster, Fault, Proxy, Server, eventually_async, unique_name};

use crate::cluster_moves::{
    Faults, LEASE, Move, TRANSIT, client, cluster, hand_to_and_fro, key, move_slot, neighbor,
};
use crate::cost::{cost_of, counts, these};
use crate::sentinel::{mapped, proxies};
use crate::{acquire_and_release, in_line};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_holds_outlive_a_short_move() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults) = client(&cluster).await;
    let lock = client.rw_lock(&name).lease_time(ms(3_000));
    let reader = lock.read().await.unwrap();
    let permits = client.semaphore(&neighbor(&name), 2).lease_time(ms(3_000));
    let permit = permits.acquire().await.unwrap();
    let slot_move = Move::of(&cluster, &name);
    slot_move.begin(&cluster);
    // Its keys are together.
    reader.refresh().await.unwrap();
    slot_move.move_key(&cluster, &name);
    let error = reader.refresh().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    tokio::time::sleep(ms(1_300)).await;
    slot_move.finish(&cluster);
    tokio::time::sleep(ms(3_000)).await;
    assert!(reader.is_held() && permit.is_held());
    assert!(
        !faults.0.lock().unwrap().is_empty(),
        "they were not renewed meanwhile"
    );
    reader.release().await.unwrap();
    permit.release().await.unwrap();
    lock.write().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_downgrade_leaves_the_writer_alone() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults) = client(&cluster).await;
    let lock = client.rw_lock(&name).lease_time(LEASE);
    let writer = lock.write().await.unwrap();
    let slot_move = Move::of(&cluster, &name);
    slot_move.begin(&cluster);
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(!writer.is_shared(), "it was not sent");
    tokio::time::sleep(TRANSIT / 2).await;
    assert!(writer.is_held());
    slot_move.finish(&cluster);
    writer.downgrade().await.unwrap();
    let reader = lock.read().await.unwrap();
    tokio::time::sleep(2 * LEASE).await;
    assert!(writer.is_held() && reader.is_held());
    writer.release().await.unwrap();
    reader.release().await.unwrap();
    faults.assert_none();
}

/// Starts proxies in front of the nodes, and connects a client through them.
async fn client_behind_proxies(cluster: &Cluster) -> (Client, Faults, Vec<Proxy>) {
    let (proxies, ports) = proxies(&cluster.nodes);
    let faults = Faults::default();
    let builder = Client::builder().store(&cluster.url()).logger(faults.log());
    let builder = builder.command_timeout(ms(500)).map_address(mapped(ports));
    (builder.connect().await.unwrap(), faults, proxies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unanswered_downgrade_is_renewed_with_its_companion() {
    // Other tests flush the scripts of theirs.
    let (cluster, name) = (Cluster::start(), unique_name());
    let (client, _, proxies) = client_behind_proxies(&cluster).await;
    // The script is known to the node.
    let other = client.rw_lock(&neighbor(&name)).write().await.unwrap();
    other.downgrade().await.unwrap();
    other.release().await.unwrap();
    let lock = client.rw_lock(&name).lease_time(LEASE);
    let writer = lock.write().await.unwrap();
    let node = cluster.master_of(&key(&name));
    // Only the downgrade has this argument: the fence.
    let fence = writer.fence().to_string().into_bytes();
    let is_downgrade =
        move |args: &[Vec<u8>]| args[0].starts_with(b"EVAL") && args.get(8) == Some(&fence);
    let rule = proxies[node].nth(1, Fault::CutAfter, is_downgrade);
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(rule.fired(), 1);
    assert!(writer.is_shared(), "it may have been");
    tokio::time::sleep(2 * LEASE).await;
    assert!(writer.is_held());
    // It ran, and the hold is not alone.
    let reader = lock.try_read().await.unwrap().expect("readers may enter");
    reader.release().await.unwrap();
    writer.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_overtaken_by_a_downgrade_loses_nothing() {
    let (cluster, name) = (cluster(), unique_name());
    let (client, faults, proxies) = client_behind_proxies(&cluster).await;
    let lock = client.rw_lock(&name).lease_time(ms(3_000));
    let writer = lock.write().await.unwrap();
    let node = cluster.master_of(&key(&name));
    let lock_key = key(&name).into_bytes();
    // The keeper has a connection of its own, so that the downgrade overtakes its renewal.
    let is_renewal =
        move |args: &[Vec<u8>]| args.get(3) == Some(&lock_key) && args.get(4) == Some(&lock_key);
    let rule = proxies[node].nth(1, Fault::HoldRequest, is_renewal);
    let has_fired = || 0 < rule.fired();
    assert!(eventually_async(ms(3_000), has_fired).await, "no renewal");
    writer.downgrade().await.unwrap();
    rule.release();
    tokio::time::sleep(ms(4_000)).await;
    assert!(writer.is_held());
    writer.release().await.unwrap();
    assert!(
        !faults
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|fault| fault.contains("lost"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_many_slots_are_listed_and_renewed() {
    let cluster = Cluster::start();
    let (client, faults) = client(&cluster).await;
    let prefix = unique_name();
    let mut held = Vec::new();
    for n in 0..64 {
        let lock = client.lock(&format!("{prefix}-{n}")).lease_time(ms(3_000));
        held.push(lock.acquire().await.unwrap());
    }
    // A name that is only waited for.
    let waited_for = client
        .lock(&format!("{prefix}-queue"))
        .lease_time(ms(30_000));
    let guard = waited_for.acquire().await.unwrap();
    let _waiting = in_line(&waited_for, 1, || waited_for.acquire()).await;
    for (n, guard) in held.iter().enumerate().take(12) {
        if n % 4 == 0 {
            move_slot(&cluster, guard.name(), false);
        }
    }
    let node = cluster.master_of(&key(waited_for.name().unwrap()));
    cluster.nodes[node].call(&["DEL", &key(waited_for.name().unwrap())]);
    let began = calls(&cluster, "evalsha");
    tokio::time::sleep(ms(3_500)).await;
    // Once a second, all together.
    let renewed = calls(&cluster, "evalsha") - began;
    assert!((3 * 64..=5 * 64).contains(&renewed), "{renewed} calls");
    let mut list = client.list(&format!("{prefix}-*"));
    let mut names = Vec::new();
    while let Some(listed) = list.next().await.unwrap() {
        names.push(listed.name.to_string());
    }
    names.sort();
    let mut expected: Vec<_> = held.iter().map(|guard| guard.name().to_owned()).collect();
    expected.push(format!("{prefix}-queue"));
    expected.sort();
    assert_eq!(names, expected);
    for guard in held {
        let status = client.lock(guard.name()).inspect().await.unwrap();
        assert!(status.is_held());
        guard.release().await.unwrap();
    }
    drop(guard);
    faults.assert_none();
}

/// Returns how often the nodes have executed a command.
fn calls(cluster: &Cluster, command: &str) -> u64 {
    let nodes = cluster.nodes.iter();
    nodes
        .map(|node| counts(node).get(command).copied().unwrap_or_default())
        .sum()
}

/// Returns how many messages other than pings a node has received from others.
fn messages(node: &Server) -> u64 {
    let info = node.call(&["CLUSTER", "INFO"]).text().unwrap();
    let count = |line: &str| {
        let (kind, count) = line
            .strip_prefix("cluster_stats_messages_")?
            .split_once("_received:")?;
        let is_ping = matches!(kind, "ping" | "pong" | "meet");
        count.trim().parse::<u64>().ok().filter(|_| !is_ping)
    };
    info.lines().filter_map(count).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_offs_send_other_nodes_nothing() {
    let (cluster, name) = (Cluster::start(), unique_name());
    let (client, _) = client(&cluster).await;
    let node = cluster.master_of(&key(&name));
    let others = || {
        (0..3)
            .filter(|other| *other != node)
            .map(|other| messages(&cluster.nodes[other]))
            .sum::<u64>()
    };
    let before = others();
    hand_to_and_fro(&client.lock(&name), 1_000).await;
    let sent = others() - before;
    assert!(sent <= 2 * 5, "{sent} messages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn free_acquire_is_one_call_without_a_subscription() {
    let (cluster, name) = (Cluster::start(), unique_name());
    let (client, _) = client(&cluster).await;
    let server = &cluster.nodes[cluster.master_of(&key(&name))];
    let warm = client.lock(&neighbor(&name));
    acquire_and_release(&warm).await;
    for name in [name.clone(), neighbor(&name)] {
        let lock = client.lock(&name);
        let (guard, mut acquire) = cost_of(server, lock.acquire()).await;
        guard.unwrap().release().await.unwrap();
        acquire.remove("pexpireat");
        let expected = ["evalsha", "exists", "hset", "pexpire", "set", "time"];
        assert_eq!(acquire, these(&expected.map(|command| (command, 1))));
    }
    assert_eq!(calls(&cluster, "ssubscribe"), 0);
}
