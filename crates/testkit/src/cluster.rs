//! A cluster on loopback: masters that share the slots, and the replicas of each.

mod bus;
mod moves;
mod slots;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::names::unique_name;
use crate::resp::Reply;
use crate::server::{Server, ServerBuilder};
use crate::turn::{Turn, Turns};
pub use bus::Bus;
use slots::{SLOTS, SlotMap};

const LIMIT: Duration = Duration::from_secs(40);

/// How long a replica tries to take over from its master before it gives up.
const FAILOVER_LIMIT: Duration = Duration::from_secs(6);

/// The options of every node.
const OPTIONS: [&str; 6] = [
    // A node without slots, or with several replicas, stays where the test put it.
    "--cluster-allow-replica-migration",
    "no",
    "--repl-diskless-sync-delay",
    "0",
    // Replicas without any data are listed once their master has pinged them.
    "--repl-ping-replica-period",
    "1",
];

static TURNS: Turns = Turns::at_most(3);

/// A running cluster of Redis 7.0 or Valkey, or later.
///
/// The nodes consider a node dead after 1.5 s, unless it was started otherwise.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes: at the start the masters, then a replica of each, then the next of each.
    pub nodes: Vec<Server>,
    shards: usize,
    password: Option<String>,
    /// Locked while a slot changes its owner.
    finishing_move: Mutex<()>,
    _turn: Turn,
}

/// The settings of a [`Cluster`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it starts"]
pub struct ClusterBuilder {
    server: ServerBuilder,
    masters: usize,
    replicas: usize,
    node_timeout: Duration,
}

impl ClusterBuilder {
    /// Starts nodes with these settings. TLS needs a server with
    /// [`Server::own_tls_port`].
    pub fn server(mut self, server: ServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// Starts this number of masters instead of 3. Fewer do not replace a dead one.
    pub fn masters(mut self, masters: usize) -> Self {
        self.masters = masters;
        self
    }

    /// Starts this number of replicas of each master instead of none.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Makes the nodes consider a node dead after that time, instead of 1.5 s. On busy cores, a
    /// longer time keeps healthy nodes alive.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// Starts the cluster and waits until its nodes know each other.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn start(self) -> Cluster {
        let turn = TURNS.wait();
        let password = self.server.password.clone();
        let mut server = self.server.node();
        let login = password
            .iter()
            .flat_map(|password| ["--masterauth", password]);
        let timeout = self.node_timeout.as_millis().to_string();
        server = server.arg("--cluster-node-timeout").arg(&timeout);
        for option in OPTIONS.into_iter().chain(login) {
            server = server.arg(option);
        }
        if server.tls {
            for option in ["--tls-cluster", "yes", "--tls-replication", "yes"] {
                server = server.arg(option);
            }
        }
        let first = server.clone().start();
        if server.tls {
            // The nodes verify each other.
            server = server.certificate_of(&first);
        }
        let others = (1..self.masters * (1 + self.replicas)).map(|_| server.clone().start());
        let cluster = Cluster {
            nodes: std::iter::once(first).chain(others).collect(),
            shards: self.masters,
            password,
            finishing_move: Mutex::default(),
            _turn: turn,
        };
        cluster.form();
        cluster
    }
}

impl Cluster {
    /// Starts three masters without replicas.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts a cluster for tests that share it and end no node of it.
    #[must_use]
    pub fn start_shared() -> Self {
        let timeout = Duration::from_secs(15);
        Self::builder().node_timeout(timeout).start()
    }

    /// Returns a builder of a cluster with other settings.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            server: ServerBuilder::default(),
            masters: 3,
            replicas: 0,
            node_timeout: Duration::from_millis(1_500),
        }
    }

    fn form(&self) {
        for (node, server) in self.nodes.iter().enumerate() {
            self.expect_ok(
                node,
                &["CLUSTER", "SET-CONFIG-EPOCH", &(node + 1).to_string()],
            );
            if node < self.shards {
                let first = (node * SLOTS / self.shards).to_string();
                let last = ((node + 1) * SLOTS / self.shards - 1).to_string();
                self.expect_ok(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            let port = peer_port(server).to_string();
            let bus = server.bus_port().to_string();
            for other in 0..node {
                self.expect_ok(other, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
        }
        for node in self.shards..self.nodes.len() {
            let master = self.id(self.shard(node));
            let ok = Reply::Simple("OK".to_owned());
            // The node may not know its master yet.
            self.wait_for(|cluster| {
                let reply = cluster.nodes[node].call(&["CLUSTER", "REPLICATE", &master]);
                (reply == ok).then_some(())
            });
        }
        self.wait_until_settled();
    }

    /// Returns its URL, which lists the nodes that are masters at the start.
    #[must_use]
    pub fn url(&self) -> String {
        let nodes: Vec<_> = (0..self.shards).collect();
        self.url_of(&nodes)
    }

    /// Returns a URL that lists those of the nodes.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn url_of(&self, nodes: &[usize]) -> String {
        let ports = nodes.iter().map(|node| self.nodes[*node].port());
        self.url_with("redis", ports)
    }

    /// Returns its URL over TLS.
    ///
    /// # Panics
    /// If it was not started with TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        let masters = self.nodes.iter().take(self.shards);
        let ports = masters.map(|node| node.own_tls_port().expect("a cluster with TLS"));
        self.url_with("rediss", ports)
    }

    fn url_with(&self, scheme: &str, ports: impl Iterator<Item = u16>) -> String {
        let hosts: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        let login = self.password.iter().map(|password| format!(":{password}@"));
        let login: String = login.collect();
        format!("{scheme}+cluster://{login}{}", hosts.join(","))
    }

    /// Returns the slot of a key.
    ///
    /// # Panics
    /// If no node runs.
    #[must_use]
    pub fn slot(&self, key: &str) -> u16 {
        let server = self.running().next().expect("a running node");
        let slot = server.call(&["CLUSTER", "KEYSLOT", key]).int();
        slot.and_then(|slot| slot.try_into().ok()).expect("a slot")
    }

    /// Returns the index of the node that serves the slot of a key.
    ///
    /// # Panics
    /// If the running nodes do not agree within 40 s.
    #[must_use]
    pub fn master_of(&self, key: &str) -> usize {
        self.master_of_slot(self.slot(key))
    }

    /// Returns the index of the node that serves a slot.
    ///
    /// # Panics
    /// If the running nodes do not agree within 40 s.
    #[must_use]
    pub fn master_of_slot(&self, slot: u16) -> usize {
        self.wait_for(|cluster| cluster.node(cluster.agreed()?.master(slot)?))
    }

    /// Returns the indexes of the nodes that serve slots, in ascending order.
    ///
    /// # Panics
    /// If the running nodes do not agree within 40 s.
    #[must_use]
    pub fn masters(&self) -> Vec<usize> {
        let ports = self.wait_for(Self::agreed).masters();
        let masters =
            (0..self.nodes.len()).filter(|node| ports.contains(&self.nodes[*node].port()));
        masters.collect()
    }

    /// Returns the ports of the nodes that serve slots, in the order of [`Cluster::masters`].
    ///
    /// # Panics
    /// If the running nodes do not agree within 40 s.
    #[must_use]
    pub fn master_ports(&self) -> Vec<u16> {
        let masters = self.masters().into_iter();
        masters.map(|node| self.nodes[node].port()).collect()
    }

    /// Returns a unique name that, after the prefix, is a key of that node.
    ///
    /// # Panics
    /// If the node serves too few slots.
    #[must_use]
    pub fn name_on(&self, node: usize, prefix: &str) -> String {
        let map = self.wait_for(Self::agreed);
        let port = self.nodes[node].port();
        let mut names = (0..10_000).map(|_| unique_name());
        names
            .find(|name| map.master(self.slot(&format!("{prefix}{name}"))) == Some(port))
            .expect("a node that serves slots")
    }

    /// Makes a replica take over from its master gracefully, and returns the replica's index.
    ///
    /// # Panics
    /// If that takes longer than 40 s, the node is no master, or has no replica.
    pub fn failover(&self, master: usize) -> usize {
        assert!(
            self.masters().contains(&master),
            "node {master} is no master"
        );
        let replica = (0..self.nodes.len())
            .find(|node| {
                *node != master
                    && self.shard(*node) == self.shard(master)
                    && self.nodes[*node].is_running()
            })
            .expect("a replica");
        let mut asked: Option<Instant> = None;
        self.wait_for(|cluster| {
            if asked.is_none_or(|asked| FAILOVER_LIMIT < asked.elapsed()) {
                asked = Some(Instant::now());
                // It refuses while its master does not answer.
                cluster.nodes[replica].call(&["CLUSTER", "FAILOVER"]);
            }
            let port = cluster.nodes[replica].port();
            cluster
                .settled()?
                .masters()
                .contains(&port)
                .then_some(replica)
        })
    }

    /// Waits until a replica has replaced a dead or stopped master, and returns its index.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn wait_for_new_master(&self, old: usize) -> usize {
        self.wait_for(|cluster| {
            let masters = cluster.settled()?.masters();
            let of_shard = |port| {
                let node = cluster.node(port)?;
                (cluster.shard(node) == cluster.shard(old)).then_some(node)
            };
            masters
                .into_iter()
                .find_map(of_shard)
                .filter(|node| *node != old)
        })
    }

    /// Waits until the running nodes serve all slots and name the same master of each.
    ///
    /// They then list each other, and no node that is dead or stopped.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn wait_until_settled(&self) {
        self.wait_for(Self::settled);
    }

    fn settled(&self) -> Option<SlotMap> {
        let map = self.agreed()?;
        let running = self.running().map(Server::port).collect();
        let serves = |server: &Server| {
            let reply = |args| server.try_call(args).ok()?.text();
            let cluster = reply(&[b"CLUSTER", b"INFO"])?;
            let replication = reply(&[b"INFO", b"replication"])?;
            let serves = cluster.contains("cluster_state:ok")
                && !replication.contains("master_link_status:down");
            serves.then_some(())
        };
        let lists = |server: &Server| Self::map_of(server).is_some_and(|map| map.ports == running);
        let all = self
            .running()
            .all(|server| serves(server).is_some() && lists(server));
        all.then_some(map)
    }

    /// Returns the slots if all running nodes name the same masters.
    fn agreed(&self) -> Option<SlotMap> {
        let mut maps = self.running().map(Self::map_of);
        let first = maps.next()??;
        let agreed = maps.all(|map| map.is_some_and(|map| map.agrees(&first)));
        agreed.then_some(first)
    }

    fn map_of(server: &Server) -> Option<SlotMap> {
        SlotMap::read(&server.try_call(&[b"CLUSTER", b"SLOTS"]).ok()?)
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|server| server.is_running())
    }

    /// Returns the master at the start that a node belongs to.
    fn shard(&self, node: usize) -> usize {
        node % self.shards
    }

    fn node(&self, port: u16) -> Option<usize> {
        self.nodes.iter().position(|server| server.port() == port)
    }

    fn id(&self, node: usize) -> String {
        let id = self.nodes[node].call(&["CLUSTER", "MYID"]).text();
        id.expect("the id of a node")
    }

    /// Sends a command that must succeed.
    fn expect_ok(&self, node: usize, args: &[&str]) {
        let reply = self.nodes[node].call(args);
        assert_eq!(
            reply,
            Reply::Simple("OK".to_owned()),
            "node {node}: {args:?}"
        );
    }

    fn wait_for<T>(&self, mut found: impl FnMut(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let log = || self.nodes.iter().map(Server::log).collect::<String>();
            assert!(
                begun.elapsed() < LIMIT,
                "the cluster does not settle: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns the port at which other nodes reach a node for its data.
fn peer_port(server: &Server) -> u16 {
    server.own_tls_port().unwrap_or_else(|| server.port())
}
