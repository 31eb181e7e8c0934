//! The holds that a command runs under.

use std::ffi::OsString;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use arbiter_lock::{Error, Guard, GuardAll, Hold, Leadership, Loss, Printable, RunGuard};
use nix::sys::signal::Signal;

use crate::child::Ended;

/// The holds that a command runs under, and the guard that ends them.
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
    /// Returns whether its outcome is recorded.
    pub(super) fn is_run(&self) -> bool {
        matches!(self.end, End::Run(_))
    }

    pub(super) fn is_one(&self) -> bool {
        self.holds.len() == 1
    }

    pub(super) fn is_held(&self) -> bool {
        self.holds.iter().all(Hold::is_held)
    }

    /// Returns how long all holds stay valid.
    pub(super) fn remaining(&self) -> Duration {
        self.holds
            .iter()
            .map(Hold::remaining)
            .min()
            .unwrap_or_default()
    }

    /// Waits for the first loss.
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

    /// Returns the names, quoted.
    pub(super) fn names(&self) -> String {
        let names = self
            .holds
            .iter()
            .map(|hold| format!("'{}'", Printable(hold.name())));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Returns the environment of the command. Several names have a line each, in the same order.
    ///
    /// The fence of a shared hold is empty, since shared holds are in no order.
    pub(super) fn env(&self) -> Vec<(&'static str, Option<OsString>)> {
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
        .map(|(name, value)| (name, Some(value.into())))
        .into()
    }

    /// Releases the holds after the command has ended. A run is recorded with its outcome.
    pub(super) async fn release(
        self,
        ended: Ended,
        interrupted: Option<Signal>,
    ) -> Result<(), Error> {
        match self.end {
            End::One(guard) => guard.release().await,
            End::All(all) => all.release().await,
            End::Leadership(leadership) => leadership.resign().await,
            End::Run(run) => match outcome(ended, interrupted) {
                None => run.finish(Ok("")).await,
                Some(why) => run.finish(Err(&why)).await,
            },
        }
    }

    /// Gives the holds up if the command did not end by itself. A run is recorded as failed.
    pub(super) async fn give_up(self, why: &str) {
        if let End::Run(run) = self.end {
            let _ = run.finish(Err(why)).await;
        }
    }
}

/// Returns why the command failed, if it did. A command that was asked to stop may not have
/// finished, even if its status is 0.
fn outcome(ended: Ended, interrupted: Option<Signal>) -> Option<String> {
    match (ended, interrupted) {
        (Ended::Exited(status), Some(signal)) => {
            let signal = signal.as_str().trim_start_matches("SIG");
            Some(format!("interrupted by {signal}, status {status}"))
        }
        (Ended::Exited(0), None) => None,
        (Ended::Exited(status), None) => Some(format!("status {status}")),
        (Ended::Died(signal), _) => Some(format!("died of signal {signal}")),
        (Ended::Interrupted, _) => Some("interrupted".to_owned()),
    }
}
