//! What a command runs under: one hold or several, and how they end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use arbiter_lock::{Error, Guard, GuardAll, Hold, Leadership, Loss, RunGuard};

use crate::child::Ended;

/// What a command runs under.
pub(crate) struct Held {
    holds: Vec<Hold>,
    end: End,
}

enum End {
    One(Guard),
    All(GuardAll),
    Leadership(Leadership),
    Run(RunGuard),
}

impl From<Guard> for Held {
    fn from(guard: Guard) -> Self {
        Self {
            holds: vec![guard.hold().clone()],
            end: End::One(guard),
        }
    }
}

impl From<GuardAll> for Held {
    fn from(all: GuardAll) -> Self {
        let holds = all.guards().iter().map(|guard| guard.hold().clone());
        Self {
            holds: holds.collect(),
            end: End::All(all),
        }
    }
}

impl From<Leadership> for Held {
    fn from(leadership: Leadership) -> Self {
        Self {
            holds: vec![leadership.hold().clone()],
            end: End::Leadership(leadership),
        }
    }
}

impl From<RunGuard> for Held {
    fn from(run: RunGuard) -> Self {
        Self {
            holds: vec![run.hold().clone()],
            end: End::Run(run),
        }
    }
}

impl Held {
    pub(super) fn is_held(&self) -> bool {
        self.holds.iter().all(Hold::is_held)
    }

    /// For how long all of it may be believed.
    pub(super) fn remaining(&self) -> Duration {
        self.holds
            .iter()
            .map(Hold::remaining)
            .min()
            .unwrap_or_default()
    }

    /// Ends with the first loss.
    ///
    /// Cancel safe.
    pub(super) async fn lost(&self) -> Loss {
        let mut each: Vec<_> = self.holds.iter().map(|h| (h, h.lost())).collect();
        poll_fn(|cx| {
            for (hold, lost) in &mut each {
                if Pin::new(lost).poll(cx).is_ready()
                    && let Some(loss) = hold.loss()
                {
                    return Poll::Ready(loss);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The names, for people.
    pub(super) fn names(&self) -> String {
        let names = self
            .holds
            .iter()
            .map(|hold| format!("'{}'", hold.name().escape_debug()));
        names.collect::<Vec<_>>().join(", ")
    }

    /// What the command sees of it: of several names a line each, in the same order. Those who
    /// share are in no order, and have no fence to show.
    pub(super) fn env(&self) -> [(&'static str, String); 3] {
        let lines = |of_one: fn(&Hold) -> String| {
            let lines: Vec<_> = self.holds.iter().map(of_one).collect();
            lines.join("\n")
        };
        [
            ("ARBITER_NAME", lines(|hold| hold.name().to_owned())),
            ("ARBITER_OWNER", lines(|hold| hold.owner().to_owned())),
            (
                "ARBITER_FENCE",
                lines(|hold| match hold.is_shared() {
                    true => String::new(),
                    false => hold.fence().to_string(),
                }),
            ),
        ]
    }

    /// Ends it after the command; a run is recorded with what came of that.
    pub(super) async fn release(self, ended: Ended) -> Result<(), Error> {
        match self.end {
            End::One(guard) => guard.release().await,
            End::All(all) => all.release().await,
            End::Leadership(leadership) => leadership.resign().await,
            End::Run(run) => match outcome(ended) {
                None => run.finish(Ok("")).await,
                Some(why) => run.finish(Err(&why)).await,
            },
        }
    }

    /// Ends it without the command's having ended by itself, and says why where that is recorded.
    pub(super) async fn give_up(self, why: &str) {
        if let End::Run(run) = self.end {
            // It is lost, or the keeper goes on.
            let _ = run.finish(Err(why)).await;
        }
    }
}

/// Why the command failed, if it did.
fn outcome(ended: Ended) -> Option<String> {
    match ended {
        Ended::Exited(0) => None,
        Ended::Exited(status) => Some(format!("status {status}")),
        Ended::Died(signal) => Some(format!("died of signal {signal}")),
        Ended::Interrupted => Some("interrupted".to_owned()),
    }
}
