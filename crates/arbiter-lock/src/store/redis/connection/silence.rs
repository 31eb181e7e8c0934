//! Detects that the server of a connection does not answer, and replaces the connection.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{ConnectionShared, Up};
use crate::store::{Failure, FailureKind};
use crate::system::process::UnlessForked;

/// How many requests in a row may be unanswered before the connection is checked.
const MOST_UNANSWERED: u32 = 3;

/// How long a dropped request must have waited to count as unanswered, unless two round trips are
/// longer.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// A request whose answer is awaited. Its caller may drop it.
struct Unanswered<'a> {
    up: &'a Up,
    sent: Instant,
    is_over: bool,
}

impl Unanswered<'_> {
    /// Counts the request as unanswered. Returns how many there are in a row.
    fn count(&mut self) -> u32 {
        self.is_over = true;
        self.up.unanswered.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let shortest = SHORTEST_WAIT.max(2 * self.up.round_trip);
        if !self.is_over && shortest <= self.sent.elapsed() {
            self.count();
        }
    }
}

impl ConnectionShared {
    /// Waits for an answer within the limit. The connection is checked if there is no answer for
    /// half the command timeout and `delay`, for which the server may wait, or for several requests
    /// in a row that had less time.
    pub(super) async fn in_time<T>(
        self: &Arc<Self>,
        up: &Arc<Up>,
        answer: impl Future<Output = T>,
        limit: Duration,
        delay: Duration,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        let first = limit.min(self.settings.limits.command / 2 + delay);
        if MOST_UNANSWERED <= up.unanswered.load(Ordering::Relaxed) {
            self.doubt(up);
        }
        let (sent, is_over) = (Instant::now(), false);
        let mut unanswered = Unanswered { up, sent, is_over };
        if let Ok(answer) = tokio::time::timeout(first, answer.as_mut()).await {
            unanswered.is_over = true;
            return Some(answer);
        }
        if MOST_UNANSWERED <= unanswered.count() || first < limit {
            self.doubt(up);
        }
        tokio::time::timeout(limit - first, answer).await.ok()
    }

    /// Starts a check of the connection, unless one is running.
    fn doubt(self: &Arc<Self>, up: &Arc<Up>) {
        if !up.is_in_doubt.swap(true, Ordering::Relaxed) {
            self.route.doubt();
            let check = self.clone().check(up.clone());
            tokio::spawn(UnlessForked::new(check));
        }
    }

    /// Replaces the connection if its server does not answer within the command timeout. An error
    /// is an answer: the user may lack the right to PING.
    async fn check(self: Arc<Self>, up: Arc<Up>) {
        let mut connection = up.line.connection.clone();
        let ping = redis::cmd("PING");
        let driver = &up.line.driver;
        let answer = driver.call(false, || connection.send_packed_command(&ping));
        match tokio::time::timeout(self.settings.limits.command, answer).await {
            Ok(answer)
                if answer
                    .as_ref()
                    .map_or_else(|e| e.code().is_some(), |_| true) =>
            {
                up.unanswered.store(0, Ordering::Relaxed);
            }
            _ => self.lose(&up.messages, &silence()),
        }
        up.is_in_doubt.store(false, Ordering::Relaxed);
    }
}

fn silence() -> Failure {
    Failure::unknown(FailureKind::Silent, "no answer to PING")
}
