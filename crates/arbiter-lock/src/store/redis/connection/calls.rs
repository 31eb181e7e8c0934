//! The requests of a connection: calls of scripts, subscriptions to channels of slots, queries.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};

use super::{Arrival, Connection, Up};
use crate::store::diagnosis::Check;
use crate::store::redis::diagnosis::{Facts, notifications};
use crate::store::redis::script::Call;
use crate::store::{Failure, FailureKind};

impl Connection {
    /// Calls a script and waits for its answer within `limit`. Dialing and the call may each take
    /// the command timeout. A node of a cluster is asked for a slot that is moving to it.
    pub(crate) async fn call(
        &self,
        call: &Call,
        is_asking: bool,
        limit: Duration,
    ) -> Result<Arrival, Failure> {
        let (up, limit) = self.dialed(limit).await?;
        self.call_on(&up, call, is_asking, limit).await
    }

    /// Subscribes to the channel of a slot, and calls a script as [`Connection::call`] does: in
    /// this order, in one write.
    ///
    /// The call counts, whether or not it is subscribed.
    pub(crate) async fn subscribe_and_call(
        &self,
        channel: &Arc<str>,
        call: &Call,
        is_asking: bool,
        limit: Duration,
    ) -> Result<Arrival, Failure> {
        let (up, limit) = self.dialed(limit).await?;
        let (_, answer) = tokio::join!(
            biased;
            self.subscribe(&up, channel, limit),
            self.call_on(&up, call, is_asking, limit),
        );
        answer
    }

    async fn call_on(
        &self,
        up: &Arc<Up>,
        call: &Call,
        is_asking: bool,
        limit: Duration,
    ) -> Result<Arrival, Failure> {
        let begun = Instant::now();
        let is_alone = self.0.waiters() <= call.own_waiters();
        let send = |cmd, left| self.send(up, is_alone, left, move |to| one(to, cmd, is_asking));
        let answer = match send(call.by_hash(), limit).await {
            Err(failure) if failure.detail.starts_with("NOSCRIPT") => {
                let left = limit.saturating_sub(begun.elapsed());
                let by_source = call.by_source();
                send(&by_source, left).await
            }
            result => result,
        };
        Ok((answer?, up.messages.source))
    }

    /// Subscribes to the channel of a slot. Without the right to, it counts as subscribed: its
    /// waiters poll.
    async fn subscribe(
        &self,
        up: &Arc<Up>,
        channel: &Arc<str>,
        limit: Duration,
    ) -> Result<(), Failure> {
        let ended = up.channels().ended;
        let mut subscribe = redis::cmd("SSUBSCRIBE");
        subscribe.arg(&**channel);
        match self
            .send(up, false, limit, |to| one(to, &subscribe, false))
            .await
        {
            Err(failure) if failure.kind != FailureKind::Denied => return Err(failure),
            _ => {}
        }
        let mut channels = up.channels();
        // One that has ended meanwhile may be this one.
        if channels.ended == ended {
            channels.open.insert(channel.clone());
        }
        Ok(())
    }

    /// Returns whether it is subscribed to the channel of a slot.
    pub(crate) fn listens(&self, channel: &str) -> bool {
        let up = self.0.state().up.clone();
        up.is_some_and(|up| up.channels().open.contains(channel))
    }

    /// Sends a command that reads, and waits for its answer within `limit`, as a call does.
    pub(crate) async fn query(&self, cmd: &Cmd, limit: Duration) -> Result<Arrival, Failure> {
        let (up, limit) = self.dialed(limit).await?;
        let is_alone = self.0.waiters() == 0;
        let answer = self
            .send(&up, is_alone, limit, |to| one(to, cmd, false))
            .await?;
        Ok((answer, up.messages.source))
    }

    /// Checks the server's settings for holds with that lease, and whether messages arrive on the
    /// channel.
    pub(crate) async fn diagnose(
        &self,
        channel: &Arc<str>,
        lease: Duration,
    ) -> Result<Vec<Check>, Failure> {
        let send = |cmd: Cmd| async move {
            let (answer, _) = self.query(&cmd, Duration::MAX).await?;
            Ok(answer)
        };
        let facts = Facts::ask(send).await?;
        let mut checks = facts.checks(lease, &self.0.route.watched());
        let mut count = redis::cmd("PUBSUB");
        let is_of_slot = self.0.route.node().is_some();
        if is_of_slot {
            let (up, limit) = self.dialed(Duration::MAX).await?;
            self.subscribe(&up, channel, limit).await?;
        }
        count.arg(if is_of_slot { "SHARDNUMSUB" } else { "NUMSUB" });
        count.arg(&**channel);
        let count = self.query(&count, Duration::MAX).await;
        checks.push(notifications(
            &count.map(|(answer, _)| answer),
            &self.0.settings.key_prefix,
        ));
        Ok(checks)
    }
}

/// Sends one command; behind `ASKING`, if it asks for a slot that is moving.
async fn one(
    mut connection: MultiplexedConnection,
    cmd: &Cmd,
    is_asking: bool,
) -> RedisResult<Value> {
    if !is_asking {
        return connection.send_packed_command(cmd).await?.extract_error();
    }
    let mut both = redis::pipe();
    both.cmd("ASKING").add_command(cmd.clone());
    let mut answers = connection.send_packed_commands(&both, 0, 2).await?;
    answers.pop().unwrap_or(Value::Nil).extract_error()
}
