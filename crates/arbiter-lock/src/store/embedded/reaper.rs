//! The reaper: notices that a process has ended, and ends its requests.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Opened;
use super::liveness::{Process, ProcessState};
use crate::store::Failure;

/// How often the process is checked at once after its tie is lost. It closes its sockets before
/// its files, or after, mostly within a millisecond.
const IMMEDIATE_CHECKS: u32 = 400;
/// How often it is checked next, and how many times: it may have much memory to free.
const FREQUENT: Duration = Duration::from_millis(2);
const FREQUENT_CHECKS: u32 = IMMEDIATE_CHECKS + 250;
/// How often a live process is checked to which no tie can be made.
const RARE: Duration = Duration::from_millis(100);
/// How often to check whether this process still has waiters.
const RECHECK_WAITERS: Duration = Duration::from_secs(5);

impl Opened {
    /// Watches the processes ahead of a waiter; returns whether requests of a dead one were ended.
    pub(super) async fn watch(
        self: &Arc<Self>,
        predecessors: Vec<Process>,
    ) -> Result<bool, Failure> {
        let mut ended = false;
        for process in predecessors {
            if process == self.process || self.watched().contains(&process) {
                continue;
            }
            if self.state_of(&process) == ProcessState::Dead {
                self.end_all(&process).await?;
                ended = true;
            } else if self.watched().insert(process.clone()) {
                self.post.spawn(Watch::new(self, process).watch());
            }
        }
        self.denied.report();
        Ok(ended)
    }

    /// Ends the requests of the processes that have died; returns whether there were any.
    pub(super) async fn reap(self: &Arc<Self>, processes: Vec<Process>) -> Result<bool, Failure> {
        let mut ended = false;
        for process in processes {
            if process != self.process && self.state_of(&process) == ProcessState::Dead {
                self.end_all(&process).await?;
                ended = true;
            }
        }
        self.denied.report();
        Ok(ended)
    }

    /// Ends all requests of a dead process. Doing it twice is harmless.
    async fn end_all(self: &Arc<Self>, process: &Process) -> Result<(), Failure> {
        loop {
            let left = self.file_lock.read(|database| database.left_by(process))?;
            if left.is_empty() {
                break;
            }
            for (key, owner) in left {
                self.end(&key, &owner).await?;
            }
            // There may be thousands.
            tokio::task::yield_now().await;
        }
        self.liveness.clean_up(process);
        Ok(())
    }
}

/// A tie to a process, while this process has waiters.
struct Watch {
    opened: Weak<Opened>,
    process: Process,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(opened) = self.opened.upgrade() {
            opened.watched().remove(&self.process);
        }
    }
}

impl Watch {
    fn new(opened: &Arc<Opened>, process: Process) -> Self {
        Self {
            opened: Arc::downgrade(opened),
            process,
        }
    }

    async fn watch(self) {
        let mut checks = 0;
        while let Some(opened) = self.opened.upgrade().filter(|opened| opened.has_waiters()) {
            match opened.liveness.of(&self.process) {
                ProcessState::Alive | ProcessState::Unknown(_) => {}
                ProcessState::Gone => return,
                ProcessState::Dead => {
                    // The next poll retries a failure.
                    if opened.end_all(&self.process).await.is_ok() {
                        for registry in opened.registries() {
                            registry.poll_again(|_| true);
                        }
                    }
                    return;
                }
            }
            let tie = opened.post.tie_to(&self.process);
            drop(opened);
            tokio::select! {
                () = tie.wait_for_end() => {
                    checks += 1;
                    if checks <= IMMEDIATE_CHECKS {
                        tokio::task::yield_now().await;
                    } else {
                        let is_frequent = checks <= FREQUENT_CHECKS;
                        let pause = if is_frequent { FREQUENT } else { RARE };
                        tokio::time::sleep(pause).await;
                    }
                }
                () = tokio::time::sleep(RECHECK_WAITERS) => checks = 0,
            }
        }
    }
}
