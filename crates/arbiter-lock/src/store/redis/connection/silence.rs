//! A connection whose server does not answer: asked whether it is alive, and replaced if it is not.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{ConnectionShared, Up};
use crate::store::{Failure, FailureKind};
use crate::system::process::UnlessForked;

/// How many steps that were given little time may go unanswered in a row before the connection is
/// asked whether it is alive.
const MOST_UNANSWERED: u32 = 3;

impl ConnectionShared {
    /// Waits for an answer within the limit. Silence puts the connection in doubt: for half the
    /// time of a command, or several times in a row for less, since callers in a hurry may miss
    /// answers that come a moment later.
    pub(super) async fn in_time<T>(
        self: &Arc<Self>,
        up: &Arc<Up>,
        answer: impl Future<Output = T>,
        limit: Duration,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        let first = limit.min(self.limits.command / 2);
        if let Ok(answer) = tokio::time::timeout(first, answer.as_mut()).await {
            return Some(answer);
        }
        let unanswered = up.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if first < limit || MOST_UNANSWERED <= unanswered {
            self.doubt(up);
        }
        tokio::time::timeout(limit - first, answer).await.ok()
    }

    /// Asks the connection whether it is alive, unless that is under way.
    fn doubt(self: &Arc<Self>, up: &Arc<Up>) {
        if !up.is_in_doubt.swap(true, Ordering::Relaxed) {
            let finding_out = self.clone().find_out(up.clone());
            tokio::spawn(UnlessForked::new(finding_out));
        }
    }

    /// Replaces the connection if it does not answer within the time of a command. Any answer
    /// will do: the user may lack the right to ask.
    async fn find_out(self: Arc<Self>, up: Arc<Up>) {
        let mut connection = up.line.connection.clone();
        let ping = redis::cmd("PING");
        let driver = &up.line.driver;
        let answer = driver.call(false, || connection.send_packed_command(&ping));
        match tokio::time::timeout(self.limits.command, answer).await {
            Ok(answer)
                if answer
                    .as_ref()
                    .map_or_else(|e| e.code().is_some(), |_| true) =>
            {
                up.unanswered.store(0, Ordering::Relaxed);
            }
            _ => self.drop_line(&up, &silence()),
        }
        up.is_in_doubt.store(false, Ordering::Relaxed);
    }
}

fn silence() -> Failure {
    Failure::unknown(FailureKind::Silent, "no answer to PING")
}
