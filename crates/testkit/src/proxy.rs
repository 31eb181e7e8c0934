//! A proxy in front of a server, which parses the traffic and injects faults.

mod frame;
mod lane;
mod line;
mod monitor;
mod rule;
mod traffic;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::server::Server;
use line::Line;
pub use rule::{Fault, Rule};
use traffic::Switch;
pub use traffic::{Pushes, Traffic};

/// A proxy in front of a [`Server`], on loopback. It runs on its own threads, so that a test with a
/// blocked runtime does not freeze it. It parses RESP over plain TCP, and RESP3 with subscriptions.
///
/// ```no_run
/// use testkit::{Fault, Proxy, Server};
/// # use std::time::Duration;
/// let server = Server::start();
/// let proxy = Proxy::before(&server);
/// let rule = proxy.nth(2, Fault::LoseReply, |args| args[0] == b"SET");
/// // A client of proxy.url() sends its second SET, and waits for an answer in vain.
/// assert!(rule.wait_fired(Duration::from_secs(1)));
/// ```
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    /// The port of the server behind it.
    upstream: Arc<AtomicU16>,
    switch: Arc<Switch>,
    lines: Arc<Mutex<Vec<Weak<Line>>>>,
}

impl Proxy {
    /// Starts a proxy in front of a server. All traffic passes.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn before(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port on loopback");
        let port = listener.local_addr().expect("its address").port();
        let proxy = Self {
            port,
            upstream: Arc::new(AtomicU16::new(server.port())),
            switch: Arc::default(),
            lines: Arc::default(),
        };
        let (switch, lines) = (proxy.switch.clone(), proxy.lines.clone());
        let upstream = proxy.upstream.clone();
        thread::spawn(move || accept(&listener, &upstream, &switch, &lines));
        proxy
    }

    /// Leads new connections to another server from now on. Existing ones continue.
    pub fn lead_to(&self, server: &Server) {
        self.upstream.store(server.port(), Ordering::SeqCst);
    }

    /// Returns the URL of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Injects a fault into the n-th request, counted from 1, that matches from now on. The
    /// predicate receives the request's arguments, starting with the command's name. Of several
    /// rules the oldest applies.
    pub fn nth(
        &self,
        n: u64,
        fault: Fault,
        matches: impl Fn(&[Vec<u8>]) -> bool + Send + Sync + 'static,
    ) -> Rule {
        self.add(Rule::new(Some(n), fault, matches))
    }

    /// Injects a fault into each request that matches from now on.
    pub fn each(
        &self,
        fault: Fault,
        matches: impl Fn(&[Vec<u8>]) -> bool + Send + Sync + 'static,
    ) -> Rule {
        self.add(Rule::new(None, fault, matches))
    }

    /// Makes all traffic flow, stall, be lost or be refused.
    pub fn set_traffic(&self, traffic: Traffic) {
        self.switch.set_traffic(traffic);
        if traffic == Traffic::Silent {
            self.lines().iter().for_each(|line| line.silence());
        }
    }

    /// Delays every message by that long in either direction, as on a slow network. Messages keep
    /// their order, and any number may be in transit.
    pub fn set_delay(&self, one_way: Duration) {
        self.switch.set_delay(one_way);
    }

    /// Makes published messages arrive, arrive late, or be lost.
    pub fn set_pushes(&self, pushes: Pushes) {
        self.switch.set_pushes(pushes);
    }

    /// Cuts every connection. New ones pass.
    pub fn cut_all(&self) {
        self.lines().iter().for_each(|line| line.cut());
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lines().len()
    }

    /// Returns how many requests of a command, named in upper case, were forwarded to the server.
    #[must_use]
    pub fn count(&self, command: &str) -> u64 {
        self.counts().get(command).copied().unwrap_or(0)
    }

    /// Returns how many requests of each command, in upper case, were forwarded to the server.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.switch.counts()
    }

    fn add(&self, rule: Rule) -> Rule {
        self.switch.add(rule.clone());
        rule
    }

    fn lines(&self) -> Vec<Arc<Line>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.switch.end();
        self.cut_all();
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Accepts connections until the proxy ends. Each lives in its threads and ends with them.
fn accept(
    listener: &TcpListener,
    upstream: &AtomicU16,
    switch: &Arc<Switch>,
    lines: &Mutex<Vec<Weak<Line>>>,
) {
    for client in listener.incoming().map_while(Result::ok) {
        if switch.is_over() {
            break;
        }
        if switch.traffic() == Traffic::Refused {
            continue;
        }
        let port = upstream.load(Ordering::SeqCst);
        let Ok(line) = Line::open(client, port) else {
            continue; // The server is down, and the close notifies the client.
        };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|line| 0 < line.strong_count());
        lines.push(Arc::downgrade(&line));
        drop(lines);
        // The connection is listed now, so no later change misses it.
        if switch.is_over() {
            continue;
        }
        if switch.traffic() == Traffic::Silent {
            line.silence();
        }
        // If nothing can be forwarded, the close notifies the client.
        let _ = line.carry(switch);
    }
}
