//! Sees processes end, and ends what they have left.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Opened;
use super::liveness::{Process, ProcessLife};
use super::post::Post;
use crate::store::Failure;

/// How often to ask at once, when the tie is lost: a process that ends closes its sockets before
/// its files, or after, mostly within a millisecond.
const IMMEDIATE_CHECKS: u32 = 400;
/// How often to ask then, and how many times: it may have much to give back.
const CHECK_INTERVAL: Duration = Duration::from_millis(2);
const FREQUENT_CHECKS: u32 = IMMEDIATE_CHECKS + 250;
/// How often to ask later, of one that lives and cannot be tied to.
const RARE_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How often to see whether anybody here still waits.
const RECHECK_WAITERS: Duration = Duration::from_secs(5);

impl Opened {
    /// Sees to it that what stands before a waiter does not outlive its process; answers whether
    /// some of it has been ended just now.
    pub(super) async fn watch(
        self: &Arc<Self>,
        predecessors: Vec<Process>,
    ) -> Result<bool, Failure> {
        let mut ended = false;
        for process in predecessors {
            if process == self.process || self.watched().contains(&process) {
                continue;
            }
            if self.life_of(&process) == ProcessLife::Dead {
                self.end_all(&process).await?;
                ended = true;
            } else if self.watched().insert(process.clone()) {
                self.post.spawn(Watch::new(self, process).watch());
            }
        }
        self.denied.report();
        Ok(ended)
    }

    /// Ends what those of the processes have left that have died; answers whether there were any.
    pub(super) async fn reap(self: &Arc<Self>, processes: Vec<Process>) -> Result<bool, Failure> {
        let mut ended = false;
        for process in processes {
            if process != self.process && self.life_of(&process) == ProcessLife::Dead {
                self.end_all(&process).await?;
                ended = true;
            }
        }
        self.denied.report();
        Ok(ended)
    }

    /// Ends all requests of a process that has died. Twice does no harm.
    async fn end_all(self: &Arc<Self>, process: &Process) -> Result<(), Failure> {
        loop {
            let left = self.file_lock.read(|database| database.left_by(process))?;
            if left.is_empty() {
                break;
            }
            for (name, owner) in left {
                self.end(&name, &owner).await?;
            }
            // It may have left thousands.
            tokio::task::yield_now().await;
        }
        self.liveness.clean_up(process);
        Ok(())
    }
}

/// A tie to a process, for as long as somebody here waits.
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
                ProcessLife::Alive | ProcessLife::Unknown(_) => {}
                ProcessLife::Gone => return,
                ProcessLife::Dead => {
                    // The next look tries again what failed here.
                    if opened.end_all(&self.process).await.is_ok() {
                        for registry in opened.registries() {
                            registry.look_again();
                        }
                    }
                    return;
                }
            }
            let folder = opened.post.folder().to_owned();
            drop(opened);
            tokio::select! {
                () = Post::tied_to(&folder, &self.process) => {
                    checks += 1;
                    if checks <= IMMEDIATE_CHECKS {
                        tokio::task::yield_now().await;
                    } else {
                        let is_frequent = checks <= FREQUENT_CHECKS;
                        tokio::time::sleep(if is_frequent { CHECK_INTERVAL } else { RARE_CHECK_INTERVAL }).await;
                    }
                }
                () = tokio::time::sleep(RECHECK_WAITERS) => checks = 0,
            }
        }
    }
}
