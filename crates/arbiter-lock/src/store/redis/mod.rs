//! The Redis store: scripts that do the core's steps on the server.

mod acknowledger;
mod adaptive_spin;
mod answer;
mod bounded;
mod cluster;
mod connection;
mod diagnosis;
mod dial;
mod driver;
mod expects_tls;
mod failure;
mod frames;
mod handle;
mod hosts;
mod introduction;
mod keys;
mod library;
mod nodes;
mod options;
mod other_protocol;
mod reply;
mod retire;
mod route;
mod script;
mod sentinel;
mod server_url;
mod target;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod wait_command;

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::errors::invalid::Invalid;
use crate::events::event::EventQueue;
use crate::store::acknowledgement::Replicas;
use crate::store::client_name::client_name;
use crate::store::{Acknowledgement, Handle, KeyPrefix, Registry, ServerSettings, Store};
use crate::system::rng;
use acknowledger::Acknowledger;
use cluster::Cluster;
use connection::{Connection, Subscription};
use dial::{ConnectionSettings, Limits};
use handle::{RedisHandle, Servers};
use nodes::NodeConnections;
use route::ServerRoute;
use sentinel::Sentinels;
use server_url::ServerUrl;

/// A server, the master of a Sentinel group or a cluster, before a runtime uses it.
struct Server {
    topology: Topology,
    settings: ConnectionSettings,
}

/// Where the locks are.
enum Topology {
    /// On one server.
    One(ServerRoute),
    /// On the masters of a cluster.
    Cluster(Arc<Cluster>),
}

impl Server {
    fn new(url: &str, mut given: ServerSettings, events: EventQueue) -> Result<Self, Invalid> {
        let url = ServerUrl::open(url, &mut given, &events)?;
        let settings = ConnectionSettings {
            limits: Limits {
                command: given.command_timeout,
                connect: given.connect_timeout,
            },
            client_name: client_name(given.client_name.as_deref()),
            key_prefix: KeyPrefix::new(&given.key_prefix)?,
            events,
        };
        let map = given.address_map;
        let topology = match url {
            ServerUrl::Sentinel(group) => {
                let (timeout, events) = (given.command_timeout, settings.events.clone());
                let sentinels = Sentinels::new(group, map, timeout, events);
                Topology::One(ServerRoute::Master(sentinels))
            }
            ServerUrl::Cluster(cluster) => {
                keys::check_on_cluster(&settings.key_prefix)?;
                Topology::Cluster(Cluster::new(cluster, map, settings.clone()))
            }
            ServerUrl::One(target) => Topology::One(ServerRoute::One(Arc::new(target))),
        };
        Ok(Self { topology, settings })
    }

    fn handle_on(&self, registry: Option<&Arc<Registry>>) -> Box<dyn Handle> {
        let registry = registry.map(Arc::downgrade);
        let settings = self.settings.clone();
        let servers = match &self.topology {
            Topology::One(route) => {
                let channel = registry.as_ref().map(|_| -> Arc<str> {
                    keys::channel(&settings.key_prefix, &rng::draw_id()).into()
                });
                let subscription = registry.map(|registry| Subscription {
                    channel: channel.clone(),
                    registry,
                });
                let acknowledging = Connection::new(route.clone(), settings.clone(), None);
                Servers::One {
                    connection: Connection::new(route.clone(), settings, subscription),
                    acknowledger: Acknowledger::new(acknowledging),
                    channel: channel.unwrap_or_default(),
                }
            }
            Topology::Cluster(cluster) => {
                let subscriber = registry.map(|registry| (registry, rng::draw_id()));
                let nodes = NodeConnections::new(cluster.clone(), settings, subscriber);
                Servers::Cluster(nodes)
            }
        };
        Box::new(RedisHandle::new(servers, self.settings.key_prefix.clone()))
    }
}

/// Opens the server of a URL; connections are made later.
pub(super) fn open(
    url: &str,
    settings: ServerSettings,
    events: &EventQueue,
) -> Result<Arc<dyn Store>, Invalid> {
    let server = Server::new(url, settings, events.clone())?;
    Ok(Arc::new(server))
}

impl Store for Server {
    fn handle(self: Arc<Self>, registry: &Arc<Registry>) -> Box<dyn Handle> {
        self.handle_on(Some(registry))
    }

    fn handle_without_notifications(self: Arc<Self>) -> Box<dyn Handle> {
        self.handle_on(None)
    }

    fn key_prefix(&self) -> &KeyPrefix {
        &self.settings.key_prefix
    }

    fn has_connections(&self) -> bool {
        true
    }

    fn check_acknowledgement(&self, needed: Acknowledgement) -> Result<(), Invalid> {
        match &self.topology {
            Topology::One(ServerRoute::One(_)) if needed.replicas == Replicas::All => {
                let message = "a single server does not name all its replicas: ask for a number of \
                               them, or use the URL of the sentinels or the cluster";
                Err(Invalid::new("replicas", message))
            }
            _ => Ok(()),
        }
    }

    fn switches(&self) -> Option<watch::Receiver<()>> {
        match &self.topology {
            Topology::One(route) => route.sentinels().map(|sentinels| sentinels.switches()),
            Topology::Cluster(cluster) => Some(cluster.switches()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topology {
            Topology::One(route) => route.fmt(f),
            Topology::Cluster(cluster) => cluster.fmt(f),
        }
    }
}
