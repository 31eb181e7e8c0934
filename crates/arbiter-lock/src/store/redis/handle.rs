//! A runtime's handle of a server: requests as calls of scripts.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock_core::{Acquired, Name, Renewal, Renewed, Reply, Request, Tried};

use super::acknowledger::{Acknowledged, Acknowledger};
use super::connection::Connection;
use super::keys::Keys;
use super::nodes::NodeConnections;
use super::script::Call;
use super::target::Address;
use super::wait_command::Needed;
use super::{keys, reply, script};
use crate::store::acknowledgement::Replicas;
use crate::store::diagnosis::Check;
use crate::store::{
    Acknowledgement, Destination, Envelope, Failure, FailureKind, Handle, KeyPrefix, Page, Pattern,
    Sending, Source,
};

/// How many keys one `SCAN` visits: more would delay the server's other clients.
const SCANNED: usize = 100;

/// Where a list continues: `locks 0`, or `queues 17 5 10.0.0.1 6379`.
struct Cursor {
    /// Whether it walks through the keys of locks, or else those of queues.
    is_of_locks: bool,
    /// The cursor of `SCAN`.
    at: String,
    /// The connection that returned it.
    read_by: Option<Source>,
    /// The node of a cluster.
    node: Option<Address>,
}

impl Cursor {
    fn begin(is_of_locks: bool, node: Option<Address>) -> Self {
        Self {
            is_of_locks,
            at: "0".to_owned(),
            read_by: None,
            node,
        }
    }

    fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let is_of_locks = words.next() != Some("queues");
        let at = words.next().unwrap_or("0").to_owned();
        let read_by = words.next().and_then(|number| number.parse().ok());
        let (host, port) = (words.next(), words.next());
        let port = port.and_then(|port| port.parse().ok());
        Self {
            is_of_locks,
            at,
            read_by,
            node: host.map(str::to_owned).zip(port),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_of_locks { "locks" } else { "queues" };
        write!(f, "{kind} {}", self.at)?;
        match self.read_by {
            Some(number) => write!(f, " {number}")?,
            None => f.write_str(" -")?,
        }
        match &self.node {
            Some((host, port)) => write!(f, " {host} {port}"),
            None => Ok(()),
        }
    }
}

/// A runtime's handle of a server or a cluster.
pub(super) struct RedisHandle {
    servers: Servers,
    key_prefix: KeyPrefix,
}

/// The connections of a handle.
pub(super) enum Servers {
    /// To one server.
    One {
        connection: Connection,
        /// Dialed once something has to be acknowledged.
        acknowledger: Acknowledger,
        /// Empty without notifications.
        channel: Arc<str>,
    },
    /// To the nodes of a cluster.
    Cluster(NodeConnections),
}

impl RedisHandle {
    pub(super) fn new(servers: Servers, key_prefix: KeyPrefix) -> Self {
        Self {
            servers,
            key_prefix,
        }
    }

    fn keys(&self, name: &Name) -> Result<Keys, Failure> {
        // A lock with such a name was refused before.
        Keys::new(&self.key_prefix, name.as_str())
            .ok_or_else(|| Failure::before_sending(FailureKind::Unsupported, "its key is reserved"))
    }

    fn slot(&self, name: &Name) -> u16 {
        keys::slot_of_name(&self.key_prefix, name.as_str())
    }

    /// Calls a script for a request, and reads the reply.
    async fn call(
        &self,
        request: &Request,
        keys: &Keys,
        channel: Option<&Arc<str>>,
        limit: Duration,
    ) -> Result<Envelope<Reply>, Failure> {
        let call = script::request(keys, request);
        let (answer, source) = match &self.servers {
            Servers::One { connection, .. } => connection.call(&call, false, limit).await?,
            Servers::Cluster(nodes) => nodes.call(keys.slot(), &call, channel, limit).await?,
        };
        Ok(Envelope {
            source,
            ..reply::read(request, answer)?
        })
    }

    /// Returns how many acknowledgements are needed for a write in that slot.
    async fn needed(
        &self,
        slot: u16,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Result<Needed, Failure> {
        let unnamed = || {
            let detail = "the sentinels or the nodes name no replicas: they may deny it";
            Failure::before_sending(FailureKind::NoReplicas, detail)
        };
        let replicas = match needed.replicas {
            Replicas::AtLeast(count) => count,
            Replicas::All => {
                let all = match &self.servers {
                    Servers::One { connection, .. } => connection.replicas(),
                    Servers::Cluster(nodes) => nodes.replicas(slot, limit).await,
                };
                all.ok_or_else(unnamed)?.max(1)
            }
        };
        Ok(Needed {
            replicas,
            durable: needed.durable,
        })
    }

    /// Calls a script that writes in that slot, and waits for the acknowledgements.
    async fn call_acknowledged(
        &self,
        slot: u16,
        call: Call,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Result<Acknowledged, Failure> {
        let needed = self.needed(slot, needed, limit).await?;
        match &self.servers {
            Servers::One { acknowledger, .. } => {
                acknowledger.call(call, false, needed, limit).await
            }
            Servers::Cluster(nodes) => nodes.call_acknowledged(slot, call, needed, limit).await,
        }
    }

    /// Sends a request to a cluster. A waiter's connection is subscribed to the channel of its slot
    /// before its second poll, and that one is sent at once: a grant before it would be missed.
    async fn send_to_node(
        &self,
        nodes: &NodeConnections,
        keys: &Keys,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Reply>, Failure> {
        let Request::Acquire { contender, ticket } = request else {
            return self.call(request, keys, None, limit).await;
        };
        let (begun, channel) = (Instant::now(), &contender.channel);
        let first = self
            .call(request, keys, ticket.map(|_| channel), limit)
            .await?;
        let left = limit.saturating_sub(begun.elapsed());
        if !is_queued(&first.reply) || nodes.listens(keys.slot(), channel) {
            return Ok(first);
        }
        let second = self.call(request, keys, Some(channel), left).await;
        // The first answer counts as well: the next poll, at once, subscribes.
        let again = true;
        Ok(second.unwrap_or(Envelope { again, ..first }))
    }
}

impl Handle for RedisHandle {
    fn connect<'a>(&'a self, to: Option<&'a Name>, limit: Duration) -> Sending<'a, ()> {
        match &self.servers {
            Servers::One { connection, .. } => Box::pin(connection.connect(limit)),
            Servers::Cluster(nodes) => {
                let slot = to.map(|name| self.slot(name));
                Box::pin(nodes.connect(slot, limit))
            }
        }
    }

    /// Checks whether the server supports the scripts, over a connection.
    fn probe<'a>(&'a self, to: Option<&'a Name>, limit: Duration) -> Sending<'a, ()> {
        Box::pin(async move {
            let begun = Instant::now();
            self.connect(to, limit).await?;
            let left = limit.saturating_sub(begun.elapsed());
            let called = match (&self.servers, to) {
                (Servers::One { connection, .. }, _) => {
                    let probe = script::probe(&keys::probe(&self.key_prefix));
                    connection.call(&probe, false, left).await
                }
                (Servers::Cluster(nodes), to) => {
                    if to.is_none() {
                        nodes.check()?;
                    }
                    // Without a hash tag, the node that was checked may have any of the names.
                    let of_name = to.map(|name| self.slot(name));
                    let Some(slot) = of_name.or_else(|| keys::slot_of_prefix(&self.key_prefix))
                    else {
                        return Ok(());
                    };
                    let probe = script::probe(&keys::probe_in(&self.key_prefix, slot));
                    nodes.call(slot, &probe, None, left).await
                }
            };
            called.map(drop)
        })
    }

    fn round_trip(&self) -> Duration {
        match &self.servers {
            Servers::One { connection, .. } => connection.round_trip(),
            Servers::Cluster(nodes) => nodes.round_trip(),
        }
    }

    fn channel(&self, name: &Name) -> Arc<str> {
        match &self.servers {
            Servers::One { channel, .. } => channel.clone(),
            Servers::Cluster(nodes) => nodes.channel(self.slot(name)),
        }
    }

    fn destination(&self, name: &Name) -> Destination {
        match &self.servers {
            Servers::One { .. } => Destination::default(),
            Servers::Cluster(nodes) => {
                let slot = self.slot(name);
                let server = nodes.server_of(slot);
                Destination {
                    server,
                    group: slot,
                }
            }
        }
    }

    fn send<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>> {
        Box::pin(async move {
            let keys = self.keys(name)?;
            match &self.servers {
                Servers::One { .. } => self.call(request, &keys, None, limit).await,
                Servers::Cluster(nodes) => self.send_to_node(nodes, &keys, request, limit).await,
            }
        })
    }

    /// Lists the keys of locks first, then those of queues, for names with waiters only. On a
    /// cluster it lists node by node.
    ///
    /// A cursor of `SCAN` means nothing to another server, so it counts on the connection that
    /// returned it.
    fn names<'a>(
        &'a self,
        cursor: &'a str,
        pattern: &'a Pattern,
        limit: Duration,
    ) -> Sending<'a, Page> {
        Box::pin(async move {
            let Cursor {
                is_of_locks,
                at,
                read_by,
                node,
            } = Cursor::parse(cursor);
            let (matching, key_type) = match is_of_locks {
                true => (keys::pattern_of(&self.key_prefix, pattern), "hash"),
                false => (keys::queue_pattern_of(&self.key_prefix, pattern), "zset"),
            };
            let mut scan = redis::cmd("SCAN");
            scan.arg(&at).arg("MATCH").arg(matching);
            scan.arg("COUNT").arg(SCANNED).arg("TYPE").arg(key_type);
            let (answer, node) = match &self.servers {
                Servers::One { connection, .. } => (connection.query(&scan, limit).await?, None),
                Servers::Cluster(nodes) => {
                    nodes.connect(None, limit).await?;
                    let node = node.or_else(|| nodes.master_after(None));
                    let Some(node) = node.filter(|node| nodes.is_master(node)) else {
                        return Ok(Page::restart());
                    };
                    (nodes.query(&node, &scan, limit).await?, Some(node))
                }
            };
            let (reply, source) = answer;
            if read_by.is_some_and(|number| number != source) {
                return Ok(Page::restart());
            }
            let (at, found) = reply::scanned(reply)?;
            let name = |key: &String| {
                let lock = match is_of_locks {
                    true => key,
                    false => keys::lock_of_queue(key)?,
                };
                Name::new(self.key_prefix.name_of(lock)?).ok()
            };
            let next = match (at.as_str(), is_of_locks, &self.servers, node) {
                ("0", true, _, node) => Some(Cursor::begin(false, node)),
                ("0", false, Servers::Cluster(nodes), Some(node)) => {
                    let next = nodes.master_after(Some(&node));
                    next.map(|next| Cursor::begin(true, Some(next)))
                }
                ("0", false, ..) => None,
                (_, _, _, node) => Some(Cursor {
                    is_of_locks,
                    at,
                    read_by: Some(source),
                    node,
                }),
            };
            Ok(Page {
                names: found.iter().filter_map(name).collect(),
                next: next.map(|cursor| cursor.to_string()),
                free_only: !is_of_locks,
                is_restart: false,
            })
        })
    }

    fn send_acknowledged<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>> {
        Box::pin(async move {
            let keys = self.keys(name)?;
            let call = script::request(&keys, request);
            let called = self.call_acknowledged(keys.slot(), call, needed, limit);
            let ((answer, source), acknowledged) = called.await?;
            let envelope = Envelope {
                source,
                ..reply::read(request, answer)?
            };
            match &envelope.reply {
                Reply::Acquired(Acquired::Granted { .. })
                | Reply::Tried(Tried::Granted { .. })
                | Reply::Renewed(Renewed::Renewed { .. }) => acknowledged?,
                _ => {}
            }
            // On a cluster the next poll, at once, subscribes. A grant to that one is claimed.
            let is_of_cluster = matches!(&self.servers, Servers::Cluster(_));
            let again = envelope.again || is_of_cluster && is_queued(&envelope.reply);
            Ok(Envelope { again, ..envelope })
        })
    }

    fn diagnose(&self, lease: Duration) -> Sending<'_, Vec<Check>> {
        Box::pin(async move {
            let nodes = match &self.servers {
                Servers::One {
                    connection,
                    channel,
                    ..
                } => return connection.diagnose(channel, lease).await,
                Servers::Cluster(nodes) => nodes,
            };
            nodes.connect(None, Duration::MAX).await?;
            let mut checks = Vec::new();
            let mut node = nodes.master_after(None);
            while let Some(master) = node {
                let shown = format!("{}:{}", master.0, master.1);
                match nodes.diagnose(&master, lease).await {
                    Ok(found) => checks.extend(found.into_iter().map(|check| Check {
                        message: format!("{shown}: {}", check.message),
                        ..check
                    })),
                    Err(failure) => {
                        let message = format!("{shown}: it {failure}");
                        checks.push(Check::failure("node", message, "start or reach it"));
                    }
                }
                node = nodes.master_after(Some(&master));
            }
            Ok(checks)
        })
    }

    fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        needed: Acknowledgement,
        limit: Duration,
    ) -> Sending<'_, Vec<Result<Renewed, Failure>>> {
        Box::pin(async move {
            let keys = renewals.iter().map(|(name, _)| self.keys(name));
            let keys: Vec<Keys> = keys.collect::<Result<_, _>>()?;
            let call = script::renew(keys.iter().zip(renewals.iter().map(|(_, renewal)| renewal)));
            let slot = keys.first().map(Keys::slot).unwrap_or_default();
            if needed.is_needed() {
                let called = self.call_acknowledged(slot, call, needed, limit);
                let ((answer, _), acknowledged) = called.await?;
                let mut renewed = reply::renewed(answer, renewals.len())?;
                for one in &mut renewed {
                    if let (Ok(Renewed::Renewed { .. }), Err(failure)) = (&*one, &acknowledged) {
                        *one = Err(failure.clone());
                    }
                }
                return Ok(renewed);
            }
            let (answer, _) = match &self.servers {
                Servers::One { connection, .. } => connection.call(&call, false, limit).await?,
                Servers::Cluster(nodes) => nodes.call(slot, &call, None, limit).await?,
            };
            reply::renewed(answer, renewals.len())
        })
    }
}

fn is_queued(reply: &Reply) -> bool {
    matches!(reply, Reply::Acquired(Acquired::Queued { .. }))
}
