//! One runtime's way to a server: the steps as calls of scripts.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, Name, Renewed, Request, Resized, Run, Status, Tried, Written,
};

use super::connection::Connection;
use super::keys::Keys;
use super::{reply, script};
use crate::store::{EndedEnvelope, Envelope, Failure, FailureKind, Renewal, Write};

/// One runtime's way to a server.
pub(crate) struct RedisHandle {
    connection: Connection,
    key_prefix: Arc<str>,
}

impl RedisHandle {
    pub(super) fn new(connection: Connection, key_prefix: Arc<str>) -> Self {
        Self {
            connection,
            key_prefix,
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

    /// Connects within the limit.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<(), Failure> {
        self.connection.connect(limit).await
    }

    /// Connects, and finds out whether the server can do what the scripts need.
    pub(crate) async fn probe(&self, limit: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        self.connection.connect(limit).await?;
        let left = limit.saturating_sub(begun.elapsed());
        let answer = self.connection.call(&script::probe(), left).await;
        answer.map(drop)
    }

    /// Returns how long the way to the server and back takes, as last measured.
    pub(crate) fn round_trip(&self) -> Duration {
        self.connection.round_trip()
    }

    pub(crate) async fn acquire(
        &self,
        name: &Name,
        request: &Request,
        ticket: Option<u64>,
        limit: Duration,
    ) -> Result<Envelope<Acquired>, Failure> {
        let keys = self.keys(name)?;
        reply::acquired(
            self.connection
                .call(&script::acquire(&keys, request, ticket), limit)
                .await?,
        )
    }

    pub(crate) async fn try_acquire(
        &self,
        name: &Name,
        request: &Request,
        limit: Duration,
    ) -> Result<Envelope<Tried>, Failure> {
        let keys = self.keys(name)?;
        reply::tried(
            self.connection
                .call(&script::try_acquire(&keys, request), limit)
                .await?,
        )
    }

    pub(crate) async fn renew(
        &self,
        renewals: &[Renewal<'_>],
        limit: Duration,
    ) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
        let keys = renewals.iter().map(|renewal| self.keys(renewal.name));
        let keys: Vec<Keys> = keys.collect::<Result<_, _>>()?;
        let call = script::renew(&keys, renewals);
        reply::renewed(self.connection.call(&call, limit).await?, renewals.len())
    }

    pub(crate) async fn end(
        &self,
        name: &Name,
        request: &Request,
        tombstone: bool,
        limit: Duration,
    ) -> Result<EndedEnvelope, Failure> {
        let keys = self.keys(name)?;
        reply::ended(
            self.connection
                .call(&script::end(&keys, request, tombstone), limit)
                .await?,
        )
    }

    pub(crate) async fn break_hold(
        &self,
        name: &Name,
        fence: u64,
        at_once: bool,
        limit: Duration,
    ) -> Result<Envelope<Broken>, Failure> {
        let keys = self.keys(name)?;
        reply::broken(
            self.connection
                .call(&script::break_hold(&keys, fence, at_once), limit)
                .await?,
        )
    }

    pub(crate) async fn downgrade(
        &self,
        renewal: &Renewal<'_>,
        limit: Duration,
    ) -> Result<Envelope<Downgraded>, Failure> {
        let keys = self.keys(renewal.name)?;
        let call = script::downgrade(&keys, renewal);
        reply::downgraded(self.connection.call(&call, limit).await?)
    }

    pub(crate) async fn resize(
        &self,
        name: &Name,
        permits: NonZeroU32,
        limit: Duration,
    ) -> Result<Envelope<Resized>, Failure> {
        let keys = self.keys(name)?;
        let call = script::resize(&keys, permits);
        reply::resized(self.connection.call(&call, limit).await?)
    }

    pub(crate) async fn write(
        &self,
        name: &Name,
        write: &Write,
        limit: Duration,
    ) -> Result<Written, Failure> {
        let keys = self.keys(name)?;
        let call = script::write(&keys, write);
        reply::written(self.connection.call(&call, limit).await?)
    }

    pub(crate) async fn last_run(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Option<Run>>, Failure> {
        let keys = self.keys(name)?;
        reply::ran(
            self.connection
                .call(&script::last_run(&keys), limit)
                .await?,
        )
    }

    pub(crate) async fn inspect(
        &self,
        name: &Name,
        limit: Duration,
    ) -> Result<Envelope<Status>, Failure> {
        let keys = self.keys(name)?;
        reply::inspected(self.connection.call(&script::inspect(&keys), limit).await?)
    }
}
