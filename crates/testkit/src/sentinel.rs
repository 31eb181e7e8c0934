//! A Sentinel group: a master, two replicas and three sentinels, on loopback.

use std::time::{Duration, Instant};

use crate::server::{Server, ServerBuilder};
use crate::turn::{Turn, Turns};

/// The name of the master in the group.
const SERVICE: &str = "main";
const LIMIT: Duration = Duration::from_secs(40);

/// A running Sentinel group.
///
/// The sentinels consider a master dead after a second, unless it was started otherwise.
#[derive(Debug)]
pub struct SentinelGroup {
    /// The servers: at the start the first is the master.
    pub servers: Vec<Server>,
    /// The sentinels.
    pub sentinels: Vec<Server>,
    _turn: Turn,
}

static TURNS: Turns = Turns::at_most(3);

/// The settings of a [`SentinelGroup`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it starts"]
pub struct SentinelGroupBuilder {
    server: ServerBuilder,
    min_replicas: bool,
    down_after: Option<Duration>,
    password: Option<String>,
    sentinel_password: Option<String>,
}

impl SentinelGroupBuilder {
    /// Starts servers and sentinels with these settings.
    pub fn server(mut self, server: ServerBuilder) -> Self {
        self.server = server;
        self
    }

    /// Makes masters refuse writes if no replica has answered for a second.
    pub fn min_replicas(mut self) -> Self {
        self.min_replicas = true;
        self
    }

    /// Makes sentinels consider a master dead after that time, instead of a second. On busy cores,
    /// a longer time keeps a healthy master in place.
    pub fn down_after(mut self, time: Duration) -> Self {
        self.down_after = Some(time);
        self
    }

    /// Sets the passwords of the servers and of the sentinels.
    pub fn passwords(mut self, servers: &str, sentinels: &str) -> Self {
        self.password = Some(servers.to_owned());
        self.sentinel_password = Some(sentinels.to_owned());
        self
    }

    /// Starts the group and waits until its members know each other.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn start(self) -> SentinelGroup {
        let turn = TURNS.wait();
        let mut server = self
            .server
            .clone()
            .arg("--repl-diskless-sync-delay")
            .arg("0");
        if self.min_replicas {
            server = server.arg("--min-replicas-to-write").arg("1");
            server = server.arg("--min-replicas-max-lag").arg("1");
        }
        if let Some(password) = &self.password {
            server = server.password(password).arg("--masterauth").arg(password);
        }
        let master = server.clone().start();
        let (host, port) = ("127.0.0.1", master.port());
        let replica = server.arg("--replicaof").arg(&format!("{host} {port}"));
        let replicas = [(); 2].map(|()| replica.clone().start());
        let down_after = self.down_after.unwrap_or(Duration::from_secs(1));
        let down_after = down_after.as_millis();
        let mut config = format!(
            "sentinel monitor {SERVICE} {host} {port} 2\n\
             sentinel down-after-milliseconds {SERVICE} {down_after}\n\
             sentinel failover-timeout {SERVICE} 3000\n"
        );
        if let Some(password) = &self.password {
            config += &format!("sentinel auth-pass {SERVICE} {password}\n");
        }
        let mut sentinel = self.server.config(&config).arg("--sentinel");
        if let Some(password) = &self.sentinel_password {
            sentinel = sentinel.password(password);
        }
        let group = SentinelGroup {
            _turn: turn,
            servers: std::iter::once(master).chain(replicas).collect(),
            sentinels: [(); 3].map(|()| sentinel.clone().start()).into(),
        };
        group.wait_until_settled();
        group
    }
}

impl SentinelGroup {
    /// Starts a group with default settings.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Starts a group for tests that share it and replace no master.
    #[must_use]
    pub fn start_shared() -> Self {
        Self::builder().down_after(Duration::from_secs(15)).start()
    }

    /// Returns a builder of a group with other settings.
    pub fn builder() -> SentinelGroupBuilder {
        SentinelGroupBuilder::default()
    }

    /// Returns its URL, which lists the sentinels.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&[0, 1, 2])
    }

    /// Returns a URL that lists those of the sentinels.
    ///
    /// # Panics
    /// If there is no such sentinel.
    #[must_use]
    pub fn url_of(&self, sentinels: &[usize]) -> String {
        let hosts: Vec<String> = sentinels
            .iter()
            .map(|n| format!("127.0.0.1:{}", self.sentinels[*n].port()))
            .collect();
        format!("redis+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Returns the index of the server that a sentinel names as the master.
    ///
    /// # Panics
    /// If it names none.
    #[must_use]
    pub fn master_of(&self, sentinel: &Server) -> Option<usize> {
        let address = sentinel.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        let port: u16 = address.texts().get(1)?.parse().expect("a port");
        self.servers.iter().position(|server| server.port() == port)
    }

    /// Returns the index of the server that all reachable sentinels name as the master.
    ///
    /// # Panics
    /// If they do not agree within 40 s.
    #[must_use]
    pub fn master(&self) -> usize {
        self.wait_for(|group| {
            let named = group.sentinels.iter().map(|s| group.master_of(s));
            let named: Vec<_> = named.collect();
            named.iter().all(|n| *n == named[0]).then_some(named[0]?)
        })
    }

    /// Makes the sentinels replace the master gracefully, and waits until they name another one.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn fail_over(&self) -> usize {
        let before = self.master();
        let begin = |group: &Self| {
            let reply = group.sentinels[0].call(&["SENTINEL", "FAILOVER", SERVICE]);
            reply
                .text()
                .as_deref()
                .filter(|text| *text == "OK")
                .map(|_| ())
        };
        self.wait_for(begin);
        self.wait_for_another(before)
    }

    /// Waits until all sentinels name another master than that.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn wait_for_another(&self, before: usize) -> usize {
        self.wait_for(|group| {
            let named = group.sentinels.iter().map(|s| group.master_of(s));
            let named: Vec<_> = named.flatten().collect();
            let agreed = named.iter().all(|n| *n == named[0] && *n != before);
            (agreed && !named.is_empty()).then(|| named[0])
        })
    }

    /// Waits until every member knows every other.
    ///
    /// # Panics
    /// If that takes longer than 40 s.
    pub fn wait_until_settled(&self) {
        let (replicas, others) = (self.servers.len() - 1, self.sentinels.len() - 1);
        self.wait_for(|group| {
            let knows = |sentinel: &Server| {
                let fields = sentinel.call(&["SENTINEL", "MASTER", SERVICE]).texts();
                let field = |name: &str| {
                    let at = fields.iter().position(|field| field == name)?;
                    fields.get(at + 1)?.parse::<usize>().ok()
                };
                field("num-slaves") == Some(replicas)
                    && field("num-other-sentinels") == Some(others)
                    && fields.iter().any(|field| field == "master")
            };
            let linked = |server: &Server| {
                let info = server.call(&["INFO", "replication"]).text();
                info.is_some_and(|info| !info.contains("master_link_status:down"))
            };
            let all = group.sentinels.iter().all(knows) && group.servers.iter().all(linked);
            all.then_some(())
        });
    }

    fn wait_for<T>(&self, found: impl Fn(&Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let log = || self.sentinels.iter().map(Server::log).collect::<String>();
            assert!(
                begun.elapsed() < LIMIT,
                "the sentinels do not settle: {}",
                log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
