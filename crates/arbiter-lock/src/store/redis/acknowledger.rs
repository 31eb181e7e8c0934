//! Writes that replicas acknowledge, on a connection of their own. `WAIT` delays everything behind
//! it on its connection, and answers for the writes of that connection only.
//!
//! While one batch is in flight, the next one gathers. So all that arrived meanwhile share a `WAIT`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::{Arrival, Connection};
use super::script::Call;
use super::wait_command::Needed;
use crate::errors::failure::nothing;
use crate::store::{Failure, FailureKind};
use crate::system::process::UnlessForked;

/// How many calls share a `WAIT`.
const BATCH: usize = 256;

/// The answer to a call, and why it is not acknowledged, if it is not.
pub(super) type Acknowledged = (Arrival, Result<(), Failure>);

/// A connection to one server for writes that replicas acknowledge.
pub(super) struct Acknowledger(Arc<AcknowledgerShared>);

struct AcknowledgerShared {
    connection: Connection,
    queue: Mutex<CallQueue>,
}

#[derive(Default)]
struct CallQueue {
    waiting: VecDeque<PendingCall>,
    /// Whether a task sends the waiting calls.
    is_running: bool,
}

struct PendingCall {
    call: Call,
    is_asking: bool,
    needed: Needed,
    answer: oneshot::Sender<Result<Acknowledged, Failure>>,
}

impl Acknowledger {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Arc::new(AcknowledgerShared {
            connection,
            queue: Mutex::default(),
        }))
    }

    /// Returns whether its server was replaced.
    pub(super) fn is_retired(&self) -> bool {
        self.0.connection.is_retired()
    }

    /// Calls a script that writes, and waits within `limit` for the answer and the acknowledgements.
    /// A node of a cluster is asked for a slot that is moving to it.
    pub(super) async fn call(
        &self,
        call: Call,
        is_asking: bool,
        needed: Needed,
        limit: Duration,
    ) -> Result<Acknowledged, Failure> {
        let (answer, answered) = oneshot::channel();
        let waiting = PendingCall {
            call,
            is_asking,
            needed,
            answer,
        };
        if self.0.push(waiting) {
            let sending = BatchTask {
                shared: self.0.clone(),
                is_over: false,
            };
            tokio::spawn(UnlessForked::new(sending.run()));
        }
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failure::unknown(
                FailureKind::Unreachable,
                "the runtime has ended",
            )),
            Err(_) => {
                let detail = nothing("acknowledgement", limit);
                Err(Failure::unknown(FailureKind::Silent, detail))
            }
        }
    }
}

impl AcknowledgerShared {
    fn queue(&self) -> MutexGuard<'_, CallQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a call. Returns whether no task sends, so that the caller has to start it.
    fn push(&self, waiting: PendingCall) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(waiting);
        !std::mem::replace(&mut queue.is_running, true)
    }

    /// Takes the next calls that need the same. Returns none at the end, which stops the task.
    fn next_batch(&self) -> Option<(Needed, Vec<PendingCall>)> {
        let mut queue = self.queue();
        // A caller that was dropped does not wait for it.
        queue.waiting.retain(|waiting| !waiting.answer.is_closed());
        let Some(first) = queue.waiting.front() else {
            queue.is_running = false;
            return None;
        };
        let (needed, mut batch, mut others) = (first.needed, Vec::new(), VecDeque::new());
        for waiting in queue.waiting.drain(..) {
            if waiting.needed == needed && batch.len() < BATCH {
                batch.push(waiting);
            } else {
                others.push_back(waiting);
            }
        }
        queue.waiting = others;
        Some((needed, batch))
    }
}

/// The task that sends. If it is dropped with its runtime, the next call starts another.
struct BatchTask {
    shared: Arc<AcknowledgerShared>,
    is_over: bool,
}

impl BatchTask {
    async fn run(mut self) {
        while let Some((needed, batch)) = self.shared.next_batch() {
            let calls = batch.iter();
            let calls = calls.map(|waiting| (&waiting.call, waiting.is_asking));
            let calls: Vec<_> = calls.collect();
            let answers = self.shared.connection.call_and_wait(&calls, needed).await;
            match answers {
                Ok((source, answers, acknowledged)) => {
                    // The calls have run, even if `WAIT` failed.
                    let acknowledged = acknowledged.map_err(|failure| Failure {
                        may_have_run: true,
                        ..failure
                    });
                    for (waiting, answer) in batch.into_iter().zip(answers) {
                        let answer = answer.map(|value| ((value, source), acknowledged.clone()));
                        let _ = waiting.answer.send(answer);
                    }
                }
                Err(failure) => {
                    for waiting in batch {
                        let _ = waiting.answer.send(Err(failure.clone()));
                    }
                }
            }
        }
        self.is_over = true;
    }
}

impl Drop for BatchTask {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut queue = self.shared.queue();
        queue.is_running = false;
        let left = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(left);
    }
}
