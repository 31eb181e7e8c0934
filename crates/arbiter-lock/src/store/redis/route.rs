//! The route of a connection: the server that it is dialed to.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cluster::Cluster;
use super::diagnosis::Watched;
use super::retire::Retire;
use super::sentinel::Sentinels;
use super::target::{Address, Target};
use crate::store::Failure;
use crate::store::settings::LoginSource;

/// The server that a connection is dialed to.
#[derive(Clone)]
pub(super) enum ServerRoute {
    /// Always the same server.
    One(Arc<Target>),
    /// The master of a Sentinel group.
    Master(Arc<Sentinels>),
    /// A node of a cluster.
    Node(Arc<Node>),
}

/// A node of a cluster.
pub(super) struct Node {
    pub(super) cluster: Arc<Cluster>,
    /// Its address, as announced.
    pub(super) address: Address,
}

impl Node {
    /// Returns whether it is the node with that id.
    ///
    /// A message of another node of the shard may be the grant of a master that was replaced, and
    /// has not noticed yet.
    pub(super) fn is(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.cluster.has_id(&self.address, id))
    }
}

impl ServerRoute {
    /// Returns the server to dial, within the limit.
    pub(super) async fn target(&self, limit: Duration) -> Result<Arc<Target>, Failure> {
        match self {
            Self::One(target) => Ok(target.clone()),
            Self::Master(sentinels) => sentinels.master(limit).await.map(Arc::new),
            Self::Node(node) => node.cluster.target(&node.address).map(Arc::new),
        }
    }

    /// Returns the login of its servers.
    pub(super) fn login(&self) -> &LoginSource {
        match self {
            Self::One(target) => &target.login,
            Self::Master(sentinels) => sentinels.login(),
            Self::Node(node) => node.cluster.login(),
        }
    }

    /// Returns the group of the master, if the route leads to one.
    pub(super) fn sentinels(&self) -> Option<&Arc<Sentinels>> {
        match self {
            Self::Master(sentinels) => Some(sentinels),
            _ => None,
        }
    }

    /// Returns how the server is watched.
    pub(super) fn watched(&self) -> Watched {
        match self {
            Self::One(_) => Watched::Not,
            Self::Master(sentinels) => sentinels.watched(),
            Self::Node(_) => Watched::ByCluster,
        }
    }

    /// Returns the node, if the route leads to one.
    pub(super) fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Adds a connection to retire when its server is replaced.
    pub(super) fn add(&self, connection: Weak<dyn Retire>) {
        match self {
            Self::One(_) => {}
            Self::Master(sentinels) => sentinels.add(connection),
            Self::Node(node) => node.cluster.add(node.address.clone(), connection),
        }
    }

    /// Notes that the server does not serve, so that another one may replace it.
    pub(super) fn doubt(&self) {
        if let Self::Node(node) = self {
            node.cluster.doubt();
        }
    }
}

impl fmt::Display for ServerRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(target) => target.fmt(f),
            Self::Master(sentinels) => sentinels.fmt(f),
            Self::Node(node) => {
                let (host, port) = &node.address;
                write!(f, "{} at {host}:{port}", node.cluster)
            }
        }
    }
}
