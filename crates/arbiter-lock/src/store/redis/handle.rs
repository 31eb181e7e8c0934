//! A runtime's handle of a server: requests as calls of scripts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock_core::{Name, Renewal, Renewed, Reply, Request};

use tokio::sync::watch;

use super::connection::Connection;
use super::keys::Keys;
use super::{reply, script};
use crate::store::{Envelope, Failure, FailureKind, Handle, Sending};

/// A runtime's handle of a server.
pub(super) struct RedisHandle {
    connection: Connection,
    key_prefix: Arc<str>,
    /// Empty without notifications.
    channel: Arc<str>,
}

impl RedisHandle {
    pub(super) fn new(connection: Connection, key_prefix: Arc<str>, channel: Arc<str>) -> Self {
        Self {
            connection,
            key_prefix,
            channel,
        }
    }

    fn keys(&self, name: &Name) -> Result<Keys, Failure> {
        Keys::new(&self.key_prefix, name.as_str()).ok_or_else(|| {
            Failure::before_sending(
                FailureKind::Unsupported,
                "does not take keys that begin with 'arbiter.': they are kept for companions",
            )
        })
    }
}

impl Handle for RedisHandle {
    fn connect(&self, limit: Duration) -> Sending<'_, ()> {
        Box::pin(self.connection.connect(limit))
    }

    /// Connects, and finds out whether the server can do what the scripts need.
    fn probe(&self, limit: Duration) -> Sending<'_, ()> {
        Box::pin(async move {
            let begun = Instant::now();
            self.connection.connect(limit).await?;
            let left = limit.saturating_sub(begun.elapsed());
            let answer = self.connection.call(&script::probe(), left).await;
            answer.map(drop)
        })
    }

    fn round_trip(&self) -> Duration {
        self.connection.round_trip()
    }

    fn switches(&self) -> Option<watch::Receiver<u64>> {
        self.connection.switches()
    }

    fn channel(&self, _: &Name) -> Arc<str> {
        self.channel.clone()
    }

    fn send<'a>(
        &'a self,
        name: &'a Name,
        request: &'a Request,
        limit: Duration,
    ) -> Sending<'a, Envelope<Reply>> {
        Box::pin(async move {
            let call = script::request(&self.keys(name)?, request);
            reply::read(request, self.connection.call(&call, limit).await?)
        })
    }

    fn renew(
        &self,
        renewals: Vec<(Name, Renewal)>,
        limit: Duration,
    ) -> Sending<'_, Vec<Result<Renewed, Failure>>> {
        Box::pin(async move {
            let keys = renewals.iter().map(|(name, _)| self.keys(name));
            let keys: Vec<Keys> = keys.collect::<Result<_, _>>()?;
            let call = script::renew(keys.iter().zip(renewals.iter().map(|(_, renewal)| renewal)));
            reply::renewed(self.connection.call(&call, limit).await?, renewals.len())
        })
    }
}
