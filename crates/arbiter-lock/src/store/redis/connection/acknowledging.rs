//! Calls whose writes replicas acknowledge, in one write with the command that waits for that.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::Connection;
use crate::store::redis::failure::failure_of;
use crate::store::redis::script::Call;
use crate::store::redis::wait_command::Needed;
use crate::store::{Failure, Source};

/// The source and the answers of a batch, and why it is not acknowledged, if it is not.
type Answers = (Source, Vec<Result<Value, Failure>>, Result<(), Failure>);

/// How long a server may take to write its disk: by default it does so once a second.
const FLUSH: Duration = Duration::from_secs(2);

impl Connection {
    /// Calls scripts that write, and waits for the acknowledgements of their writes. It waits for a
    /// quarter of the command timeout, or for at least [`FLUSH`] if they have to be on disk.
    ///
    /// Each call is behind `ASKING`, if it asks for a slot that is moving. Nothing else may be sent on
    /// the connection meanwhile: it would wait, too.
    pub(crate) async fn call_and_wait(
        &self,
        calls: &[(&Call, bool)],
        needed: Needed,
    ) -> Result<Answers, Failure> {
        let limit = self.0.settings.limits.command;
        let delay = match needed.durable {
            true => FLUSH.max(limit / 4),
            false => limit / 4,
        };
        let wait = needed.wait(delay);
        let (up, limit) = self.dialed(limit).await?;
        let limit = limit + delay;
        let mut answers: Vec<Result<Value, Failure>> = Vec::new();
        let mut unknown: Vec<usize> = (0..calls.len()).collect();
        let mut acknowledged = Ok(());
        for by_hash in [true, false] {
            let mut commands = redis::pipe();
            for (call, is_asking) in unknown.iter().map(|n| calls[*n]) {
                if is_asking {
                    commands.cmd("ASKING");
                }
                let command = match by_hash {
                    true => call.by_hash().clone(),
                    false => call.by_source(),
                };
                commands.add_command(command);
            }
            commands.add_command(wait.clone());
            let (count, commands) = (commands.len(), &commands);
            let send = |mut to: MultiplexedConnection| async move {
                to.send_packed_commands(commands, 0, count).await
            };
            let all = self.send_and_wait(&up, false, limit, delay, send).await;
            // Those that were known have run at the first time.
            let all = all.map_err(|failure| Failure {
                may_have_run: failure.may_have_run || !by_hash,
                ..failure
            })?;
            let all = all.into_iter().map(Value::extract_error);
            let mut all = all.map(|answer| answer.map_err(|e| failure_of(&e)));
            let mut next = || all.next().unwrap_or(Ok(Value::Nil));
            let read = |n: &usize| {
                if calls[*n].1 {
                    let _ = next();
                }
                next()
            };
            let answered: Vec<_> = unknown.iter().map(read).collect();
            let last = next();
            acknowledged = last.and_then(|answer| needed.check(&answer));
            match by_hash {
                true => answers = answered,
                // The script was not known, so the call did not run.
                false => unknown
                    .iter()
                    .zip(answered)
                    .for_each(|(n, answer)| answers[*n] = answer),
            }
            let is_unknown = |answer: &Result<Value, Failure>| {
                let failure = answer.as_ref().err();
                failure.is_some_and(|failure| failure.detail.starts_with("NOSCRIPT"))
            };
            unknown.retain(|n| answers.get(*n).is_some_and(is_unknown));
            if unknown.is_empty() {
                break;
            }
        }
        Ok((up.messages.source, answers, acknowledged))
    }
}
