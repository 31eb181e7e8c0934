//! A runtime's handle of a server: requests as calls of scripts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock_core::{Name, Renewal, Renewed, Reply, Request};

use super::connection::Connection;
use super::keys::Keys;
use super::{keys, reply, script};
use crate::store::{Envelope, Failure, FailureKind, Handle, Page, Pattern, Sending};

/// The prefixes of a listing's cursor, by the keys that it walks through.
const LOCKS: &str = "locks";
const QUEUES: &str = "queues";

/// How many keys one `SCAN` visits: more would delay the server's other clients.
const SCANNED: usize = 100;

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

    /// Connects, and checks whether the server supports the scripts.
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
            let (answer, source) = self.connection.call(&call, limit).await?;
            Ok(Envelope {
                source,
                ..reply::read(request, answer)?
            })
        })
    }

    /// Lists the keys of locks first, then those of queues, for names that are only waited for.
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
            let mut parts = cursor.split(' ').filter(|part| !part.is_empty());
            let (kind, at) = (parts.next().unwrap_or(LOCKS), parts.next().unwrap_or("0"));
            let read_by = parts.next();
            let is_of_locks = kind == LOCKS;
            let (matching, key_type) = match is_of_locks {
                true => (keys::pattern_of(&self.key_prefix, pattern), "hash"),
                false => (keys::QUEUES.to_owned(), "zset"),
            };
            let mut scan = redis::cmd("SCAN");
            scan.arg(at).arg("MATCH").arg(matching);
            scan.arg("COUNT").arg(SCANNED).arg("TYPE").arg(key_type);
            let (reply, source) = self.connection.query(&scan, limit).await?;
            if read_by.is_some_and(|number| number != source.to_string()) {
                return Ok(Page::restart());
            }
            let (at, found) = reply::scanned(reply)?;
            let name = |key: &String| {
                let lock = match is_of_locks {
                    true => key,
                    false => keys::lock_of_queue(key)?,
                };
                Name::new(keys::name_of(&self.key_prefix, lock)?).ok()
            };
            let next = match (at.as_str(), is_of_locks) {
                ("0", true) => Some(format!("{QUEUES} 0")),
                ("0", false) => None,
                (at, _) => Some(format!("{kind} {at} {source}")),
            };
            Ok(Page {
                names: found.iter().filter_map(name).collect(),
                next,
                free_only: !is_of_locks,
                is_restart: false,
            })
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
            let (answer, _) = self.connection.call(&call, limit).await?;
            reply::renewed(answer, renewals.len())
        })
    }
}
