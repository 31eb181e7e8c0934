//! Partitions of a cluster: the messages between the nodes pass through here.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Cluster;

/// The bytes of a message up to the id of its sender, and that id.
const HEAD: usize = 40;
const ID: usize = 40;

/// The bus of a cluster, between its nodes. Replication and clients do not use it.
///
/// It works until the process ends.
#[derive(Debug)]
pub struct Bus {
    /// The ids of the nodes.
    ids: Vec<String>,
    cut_off: Arc<Mutex<HashSet<String>>>,
}

impl Bus {
    /// Cuts the bus between those nodes and the others.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn cut_off(&self, nodes: &[usize]) {
        let ids = nodes.iter().map(|node| self.ids[*node].clone());
        *lock(&self.cut_off) = ids.collect();
    }

    /// Ends the partition.
    pub fn heal(&self) {
        lock(&self.cut_off).clear();
    }
}

impl Cluster {
    /// Leads the messages between the nodes through a bus that can be cut.
    ///
    /// # Panics
    /// If a node refuses, or the nodes do not settle within 40 s.
    #[must_use]
    pub fn bus(&self) -> Bus {
        let ids: Vec<_> = (0..self.nodes.len()).map(|node| self.id(node)).collect();
        let cut_off = Arc::<Mutex<HashSet<String>>>::default();
        let mut ports = Vec::new();
        for (node, id) in ids.iter().enumerate() {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port on loopback");
            let port = listener.local_addr().expect("its address").port();
            let (to, id, cut_off) = (self.nodes[node].bus_port(), id.clone(), cut_off.clone());
            thread::spawn(move || accept(&listener, to, &id, &cut_off));
            let port = port.to_string();
            self.expect_ok(node, &["CONFIG", "SET", "cluster-announce-bus-port", &port]);
            ports.push(format!("@{port}"));
        }
        self.wait_for(|cluster| {
            let knows = |node: &crate::Server| {
                let list = node.call(&["CLUSTER", "NODES"]).text();
                list.is_some_and(|list| ports.iter().all(|port| list.contains(port)))
            };
            cluster.nodes.iter().all(knows).then_some(())
        });
        self.wait_until_settled();
        Bus { ids, cut_off }
    }
}

fn accept(listener: &TcpListener, to: u16, id: &str, cut_off: &Arc<Mutex<HashSet<String>>>) {
    for from in listener.incoming().map_while(Result::ok) {
        let (to_id, cut_off) = (id.to_owned(), cut_off.clone());
        thread::spawn(move || {
            // A connection that fails is made again by the node.
            let _ = carry(from, to, &to_id, &cut_off);
        });
    }
}

/// Forwards a connection between two nodes until it ends.
fn carry(
    mut from: TcpStream,
    to: u16,
    to_id: &str,
    cut_off: &Arc<Mutex<HashSet<String>>>,
) -> std::io::Result<()> {
    let mut head = [0; HEAD + ID];
    from.read_exact(&mut head)?;
    let from_id = String::from_utf8_lossy(&head[HEAD..]).into_owned();
    let is_cut = {
        let (cut_off, to_id) = (cut_off.clone(), to_id.to_owned());
        move || {
            let cut_off = lock(&cut_off);
            cut_off.contains(&from_id) != cut_off.contains(&to_id)
        }
    };
    let mut to = TcpStream::connect(("127.0.0.1", to))?;
    if is_cut() {
        // It stays open, and nothing passes.
        std::io::copy(&mut from, &mut std::io::sink())?;
        return Ok(());
    }
    to.write_all(&head)?;
    let (back, forth) = (to.try_clone()?, from.try_clone()?);
    let is_cut_back = is_cut.clone();
    thread::spawn(move || forward(back, forth, is_cut_back));
    forward(from, to, is_cut);
    Ok(())
}

/// Forwards all bytes until the connection ends. Bytes that arrive while it is cut are lost, and
/// then the connection ends with the next message.
fn forward(mut from: TcpStream, mut to: TcpStream, is_cut: impl Fn() -> bool) {
    let (mut buffer, mut has_lost) = ([0; 16_384], false);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if is_cut() {
            has_lost = true;
        } else if has_lost || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn lock(cut_off: &Mutex<HashSet<String>>) -> MutexGuard<'_, HashSet<String>> {
    cut_off.lock().unwrap_or_else(PoisonError::into_inner)
}
