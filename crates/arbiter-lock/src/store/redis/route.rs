//! The route of a connection: the server that it is dialed to.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::sentinel::Sentinels;
use super::target::Target;
use crate::store::Failure;

/// The server that a connection is dialed to.
#[derive(Clone)]
pub(super) enum ServerRoute {
    /// Always the same server.
    One(Arc<Target>),
    /// The master of a Sentinel group.
    Master(Arc<Sentinels>),
}

impl ServerRoute {
    /// Returns the server to dial, within the limit.
    pub(super) async fn target(&self, limit: Duration) -> Result<Arc<Target>, Failure> {
        match self {
            Self::One(target) => Ok(target.clone()),
            Self::Master(sentinels) => sentinels.master(limit).await.map(Arc::new),
        }
    }

    /// Returns the group of the master, if the route leads to one.
    pub(super) fn sentinels(&self) -> Option<&Arc<Sentinels>> {
        match self {
            Self::One(_) => None,
            Self::Master(sentinels) => Some(sentinels),
        }
    }
}

impl fmt::Display for ServerRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(target) => target.fmt(f),
            Self::Master(sentinels) => sentinels.fmt(f),
        }
    }
}
