//! Access to a cluster: TLS, and the rights of its user.

use std::time::Duration;

#[cfg(feature = "tls")]
use arbiter_lock::Tls;
use arbiter_lock::{Client, Error, NoopLogger};
use testkit::Cluster;

#[cfg(feature = "tls")]
use crate::acquire_and_release;
use crate::auth::refusals;

const PREFIX: &str = "arbiter:";

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Rights on a single server that a cluster does not need.
const NOT_USED: [&str; 4] = ["+select", "+subscribe", "+publish", "+pubsub|numsub"];

/// Returns the words of a documented rule after those.
fn documented(begin: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rule = page.split(begin).nth(1).unwrap();
    let rule = rule.split("```").next().unwrap().replace('\\', " ");
    rule.split_whitespace().map(str::to_owned).collect()
}

/// Returns the documented rights of a cluster's user: those on a single server that it needs too,
/// and its own.
fn rights() -> [Vec<String>; 2] {
    let mut all = documented("ACL SETUSER arbiter on >secret resetkeys");
    all.retain(|right| !NOT_USED.contains(&right.as_str()));
    let own = documented("ACL SETUSER arbiter +cluster|slots");
    let own = ["+cluster|slots".to_owned()].into_iter().chain(own);
    [all, own.collect()]
}

/// Sets the rights of the user on every node. The nodes forget scripts and refusals.
fn set(cluster: &Cluster, rights: &[String]) {
    let mut command = vec!["ACL", "SETUSER", "arbiter", "reset", "on", ">secret"];
    command.extend(rights.iter().map(String::as_str));
    for node in &cluster.nodes {
        let answer = node.call(&command).text();
        assert_eq!(answer.as_deref(), Some("OK"), "{command:?}");
        node.call(&["ACL", "LOG", "RESET"]);
    }
}

/// Hands a name off to a waiter, and returns whether that was pushed to it. Then refreshes a hold
/// whose key has moved and whose slot has not.
async fn tour(cluster: &Cluster) -> Result<bool, Error> {
    let url = cluster.url().replace("://", "://arbiter:secret@");
    let builder = Client::builder().store(&url).logger(NoopLogger);
    let client = builder.connect().await?;
    let name = cluster.name_on(0, PREFIX);
    let lock = client.lock(&name).lease_time(ms(30_000));
    let guard = lock.acquire().await?;
    let waiter = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    while lock.inspect().await?.waiting == 0 {
        tokio::time::sleep(ms(10)).await;
    }
    // Within the time between two polls.
    tokio::time::sleep(ms(100)).await;
    guard.release().await?;
    let is_pushed = tokio::time::timeout(ms(400), async {
        while !waiter.is_finished() {
            tokio::time::sleep(ms(5)).await;
        }
    });
    let is_pushed = is_pushed.await.is_ok();
    let next = waiter.await.unwrap()?;
    let slot = cluster.slot(&format!("{PREFIX}{name}"));
    cluster.begin_move(slot, 0, 1);
    cluster.move_keys(slot, 0, 1);
    let refreshed = next.refresh().await;
    cluster.finish_move(slot, 0, 1);
    refreshed.map(|()| is_pushed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_right_on_a_cluster_is_needed() {
    let cluster = Cluster::start();
    let [shared, own] = rights();
    let all = [shared, own.clone()].concat();
    set(&cluster, &all);
    assert!(tour(&cluster).await.unwrap());
    let refused: Vec<_> = cluster.nodes.iter().flat_map(refusals).collect();
    assert_eq!(refused, [""; 0]);
    for spared in &own {
        let rest: Vec<_> = all.iter().filter(|w| *w != spared).cloned().collect();
        set(&cluster, &rest);
        let found = tour(&cluster).await;
        let expected = match spared.as_str() {
            // Without the id of the node in a grant, its waiter polls at once.
            "+cluster|info" | "+cluster|myid" => matches!(found, Ok(true)),
            "+ssubscribe" | "+spublish" => matches!(found, Ok(false)),
            // Every waiter counts as one that listens.
            "+pubsub|shardnumsub" => matches!(found, Ok(true)),
            _ => found.is_err(),
        };
        assert!(expected, "without {spared}: {found:?}");
        let refused: Vec<_> = cluster.nodes.iter().flat_map(refusals).collect();
        let is_missed = refused.iter().any(|refused| spared[1..] == **refused);
        assert!(is_missed, "{spared} is of no use: {refused:?}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_reached_over_tls() {
    let server = testkit::Server::builder().tls();
    if server.clone().start().own_tls_port().is_none() {
        println!("the server has no TLS of its own, which its nodes would need");
        return;
    }
    let cluster = Cluster::builder().server(server).start();
    let authorities = std::fs::read(cluster.nodes[0].certificate()).unwrap();
    let builder = Client::builder().store(&cluster.tls_url());
    let builder = builder.logger(NoopLogger);
    let client = builder.tls(Tls::new().ca_pem(&authorities));
    let client = client.connect().await.unwrap();
    for node in 0..3 {
        acquire_and_release(&client.lock(&cluster.name_on(node, PREFIX))).await;
    }
    let untrusted = Client::connect(&cluster.tls_url()).await;
    assert!(untrusted.is_err(), "{untrusted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_rights_suffice_to_list_a_cluster() {
    let cluster = Cluster::start();
    let mut rights = documented("ACL SETUSER watcher on >secret");
    rights.push("+cluster|slots".to_owned());
    set(&cluster, &rights);
    let holder = Client::connect(&cluster.url()).await.unwrap();
    let names = [0, 1, 2].map(|node| cluster.name_on(node, PREFIX));
    let mut guards = Vec::new();
    for name in &names {
        guards.push(holder.lock(name).acquire().await.unwrap());
    }
    let url = cluster.url().replace("://", "://arbiter:secret@");
    let watcher = Client::connect_lazy(&url).unwrap();
    let status = watcher.lock(&names[0]).inspect().await.unwrap();
    assert!(status.is_held());
    let mut list = watcher.list("*");
    let mut listed = Vec::new();
    while let Some(lock) = list.next().await.unwrap() {
        listed.push(lock.name);
    }
    listed.sort();
    let mut names = names.to_vec();
    names.sort();
    assert_eq!(listed, names);
}
