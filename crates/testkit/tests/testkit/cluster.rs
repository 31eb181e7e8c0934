//! Clusters are formed, moved about, failed over, and keep their keys.

use testkit::{Cluster, Flavour, Reply, Server, flavours};

/// Reads a key at the node that serves it.
fn read(cluster: &Cluster, key: &str) -> Option<String> {
    cluster.nodes[cluster.master_of(key)]
        .call(&["GET", key])
        .text()
}

fn write(cluster: &Cluster, key: &str) {
    let node = &cluster.nodes[cluster.master_of(key)];
    assert_eq!(node.call(&["SET", key, "v"]), Reply::Simple("OK".into()));
}

#[test]
fn key_survives_a_move_and_failovers() {
    let mut cluster = Cluster::builder().replicas(1).start();
    assert_eq!(cluster.masters(), [0, 1, 2]);
    let key = format!("a:{}", cluster.name_on(2, "a:"));
    write(&cluster, &key);
    cluster.move_slot(cluster.slot(&key), 2, 0);
    assert_eq!(cluster.master_of(&key), 0);
    assert_eq!(read(&cluster, &key).as_deref(), Some("v"));
    assert_eq!(cluster.failover(0), 3);
    assert_eq!(cluster.masters(), [1, 2, 3]);
    assert_eq!(read(&cluster, &key).as_deref(), Some("v"));
    cluster.nodes[3].kill();
    assert_eq!(cluster.wait_for_new_master(3), 0);
    assert_eq!(read(&cluster, &key).as_deref(), Some("v"));
    cluster.nodes[3].restart();
    cluster.wait_until_settled();
    cluster.nodes[1].stop();
    assert_eq!(cluster.wait_for_new_master(1), 4);
    cluster.nodes[1].cont();
    cluster.wait_until_settled();
    assert_eq!(cluster.masters(), [0, 2, 4]);
}

#[test]
fn slot_in_transit_redirects_absent_keys() {
    let server = Server::builder().password("secret");
    let cluster = Cluster::builder().server(server).start();
    let [first, second, ..] = cluster.master_ports()[..] else {
        panic!("too few masters");
    };
    let url = format!("redis+cluster://:secret@127.0.0.1:{first},127.0.0.1:{second}");
    assert_eq!(cluster.url_of(&[0, 1]), url);
    let key = format!("{{{}}}", cluster.name_on(0, ""));
    let slot = cluster.slot(&key);
    for n in 0..250 {
        write(&cluster, &format!("{key}{n}"));
    }
    let get = |node: usize, n: usize| {
        let reply = cluster.nodes[node].call(&["GET", &format!("{key}{n}")]);
        reply.text().unwrap()
    };
    cluster.begin_move(slot, 0, 1);
    assert_eq!(get(0, 249), "v");
    assert!(get(0, 250).starts_with("ASK "));
    cluster.move_keys(slot, 0, 1);
    assert!(get(0, 249).starts_with("ASK "));
    assert_eq!(cluster.master_of_slot(slot), 0);
    cluster.finish_move(slot, 0, 1);
    assert_eq!(cluster.master_of_slot(slot), 1);
    assert_eq!(get(1, 249), "v");
    assert!(get(0, 249).starts_with("MOVED "));
}

#[test]
fn key_survives_an_atomic_move() {
    let moves_at_once = |flavour: &Flavour| {
        let major = flavour.name.strip_prefix("valkey ");
        let major = major.and_then(|version| version.split('.').next()?.parse().ok());
        major.is_some_and(|major: u32| 9 <= major)
    };
    for flavour in flavours().into_iter().filter(moves_at_once) {
        let server = Server::builder().binary(&flavour.binary);
        let cluster = Cluster::builder().server(server).replicas(1).start();
        assert!(cluster.supports_atomic_moves());
        let key = cluster.name_on(0, "");
        write(&cluster, &key);
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            cluster.move_atomically(cluster.slot(&key), from, to);
            assert_eq!(read(&cluster, &key).as_deref(), Some("v"));
        }
    }
}

#[test]
fn cluster_with_tls_keeps_a_moved_key() {
    for flavour in flavours() {
        let server = Server::builder().binary(&flavour.binary).tls();
        // Redis 6 chooses the port of the bus itself.
        if flavour.name.contains(" 6.") || server.clone().start().own_tls_port().is_none() {
            continue;
        }
        let cluster = Cluster::builder().server(server).replicas(1).start();
        let key = cluster.name_on(0, "");
        write(&cluster, &key);
        cluster.move_slot(cluster.slot(&key), 0, 1);
        assert_eq!(read(&cluster, &key).as_deref(), Some("v"));
        assert!(cluster.tls_url().starts_with("rediss+cluster://127.0.0.1:"));
    }
}
