//! Slots move from one master to another.

use std::sync::PoisonError;
use std::time::Instant;

use super::{Cluster, LIMIT, peer_port};
use crate::resp::Reply;
use crate::server::Server;

/// How many keys one command moves.
const KEYS: &str = "100";

/// The states of an atomic move that has ended.
const ENDED: [&str; 3] = ["success", "failed", "cancelled"];

impl Cluster {
    /// Moves a slot step by step, as servers do that cannot move one at once.
    ///
    /// # Panics
    /// If that takes longer than 40 s, or a node refuses a step.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to);
        self.move_keys(slot, from, to);
        self.finish_move(slot, from, to);
    }

    /// Begins to move a slot: `from` then redirects requests for absent keys to `to`.
    ///
    /// # Panics
    /// If a node refuses.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        self.set_slot(to, slot, &["IMPORTING", &self.id(from)]);
        self.set_slot(from, slot, &["MIGRATING", &self.id(to)]);
    }

    /// Moves the keys of a slot whose move has begun.
    ///
    /// # Panics
    /// If that takes longer than 40 s, or a node refuses.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let begun = Instant::now();
        let (slot, port) = (slot.to_string(), peer_port(&self.nodes[to]).to_string());
        loop {
            let list = ["CLUSTER", "GETKEYSINSLOT", &slot, KEYS];
            let Reply::Array(keys) = self.nodes[from].call(&list) else {
                panic!("node {from} does not list the keys of slot {slot}");
            };
            if keys.is_empty() {
                return;
            }
            let mut args = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "3000"];
            if let Some(password) = &self.password {
                args.extend(["AUTH", password]);
            }
            args.push("KEYS");
            let mut args: Vec<&[u8]> = args.into_iter().map(str::as_bytes).collect();
            args.extend(keys.iter().filter_map(|key| match key {
                Reply::Bulk(key) => key.as_deref(),
                _ => None,
            }));
            // A key that has expired meanwhile is no key.
            let reply = self.nodes[from].call_bytes(&args);
            let moved = matches!(&reply, Reply::Simple(text) if text == "OK" || text == "NOKEY");
            let is_busy = matches!(&reply, Reply::Error(text) if text.starts_with("IOERR"));
            assert!(moved || is_busy, "the keys do not move: {reply:?}");
            assert!(begun.elapsed() < LIMIT, "there are always more keys");
        }
    }

    /// Finishes the move of a slot, and waits until all running nodes agree.
    ///
    /// One move at a time is finished, and the nodes know each other's epochs then: otherwise the
    /// former owner may have the higher epoch, and the nodes never agree.
    ///
    /// # Panics
    /// If that takes longer than 40 s, or a node refuses.
    pub fn finish_move(&self, slot: u16, from: usize, to: usize) {
        let finishing = self.finishing_move.lock();
        let _finishing = finishing.unwrap_or_else(PoisonError::into_inner);
        self.wait_for(Self::same_epoch);
        let id = self.id(to);
        let others = self.masters().into_iter();
        let others = others.filter(|node| ![from, to].contains(node));
        for node in [to, from].into_iter().chain(others) {
            self.set_slot(node, slot, &["NODE", &id]);
        }
        let target = self.nodes[to].port();
        self.wait_for(|cluster| {
            let master = cluster.agreed()?.master(slot)?;
            (master == target).then_some(())
        });
    }

    /// Moves a slot at once, and waits until all running nodes agree.
    ///
    /// # Panics
    /// If that takes longer than 40 s, or the server refuses, see
    /// [`Cluster::supports_atomic_moves`].
    pub fn move_atomically(&self, slot: u16, from: usize, to: usize) {
        let (range, id) = (slot.to_string(), self.id(to));
        let (source, target) = (&self.nodes[from], self.nodes[to].port());
        self.wait_for(|cluster| {
            // A move that fails changes nothing. The slot is read after the end of the move.
            let ended = !is_moving(source);
            let is_here = Self::map_of(source)?.master(slot) == Some(source.port());
            if ended && is_here {
                let begin = ["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", &range, &range];
                cluster.expect_ok(from, &[&begin[..], &["NODE", &id]].concat());
            }
            (cluster.agreed()?.master(slot) == Some(target)).then_some(())
        });
    }

    /// Returns whether the server moves slots at once: Valkey does since version 9.
    ///
    /// # Panics
    /// If no node runs.
    #[must_use]
    pub fn supports_atomic_moves(&self) -> bool {
        let server = self.running().next().expect("a running node");
        let reply = server.call(&["CLUSTER", "GETSLOTMIGRATIONS"]);
        matches!(reply, Reply::Array(_))
    }

    /// Returns the current epoch if all running nodes know it.
    fn same_epoch(&self) -> Option<String> {
        let mut epochs = self.running().map(|server| {
            let info = server.try_call(&[b"CLUSTER", b"INFO"]).ok()?.text()?;
            let mut lines = info.lines();
            let line = lines.find(|line| line.starts_with("cluster_current_epoch:"))?;
            Some(line.to_owned())
        });
        let first = epochs.next()??;
        epochs
            .all(|epoch| epoch.as_ref() == Some(&first))
            .then_some(first)
    }

    fn set_slot(&self, node: usize, slot: u16, state: &[&str]) {
        let slot = slot.to_string();
        self.expect_ok(node, &[&["CLUSTER", "SETSLOT", &slot], state].concat());
    }
}

/// Returns whether an atomic move from or to that node has not ended.
fn is_moving(server: &Server) -> bool {
    let Reply::Array(moves) = server.call(&["CLUSTER", "GETSLOTMIGRATIONS"]) else {
        return false;
    };
    moves.iter().any(|slot_move| {
        let fields = slot_move.texts();
        let state = fields.iter().position(|field| field == "state");
        let state = state.and_then(|at| fields.get(at + 1));
        state.is_some_and(|state| !ENDED.contains(&state.as_str()))
    })
}
