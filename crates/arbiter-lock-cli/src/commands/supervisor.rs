//! Runs the command while the lock is held, and ends it before the next holder is granted.

mod deadline;
mod held;
mod interrupts;
mod settings;

use std::path::Path;
use std::time::Duration;

use arbiter_lock::{Client, Error, Loss, LostReason, Printable};
use nix::sys::signal::Signal;

use crate::child::{Change, Child, Ended};
use crate::cli::{StoreArgs, WorkArgs};
use crate::exit::Exit;
use crate::output;
use crate::store;
use deadline::Deadline;
pub(crate) use held::Held;
pub(crate) use interrupts::Interrupts;
use interrupts::stop_of_work;
pub(crate) use settings::{grace, narrator, note, with_settings};

/// How long to wait for the store to confirm a release.
const RELEASE: Duration = Duration::from_millis(650);
/// The same on the store of this machine, where only a busy machine delays it. The store reports
/// sooner that a process is stopped.
const RELEASE_HERE: Duration = Duration::from_secs(30);
/// How long the shutdown waits for pending releases.
const LINGER: Duration = Duration::from_millis(300);

/// How arbiter is to end.
pub(crate) struct Outcome {
    exit: Exit,
    /// What to print if the store does not confirm the release.
    unconfirmed: Option<String>,
}

impl From<Exit> for Outcome {
    fn from(exit: Exit) -> Self {
        Self {
            exit,
            unconfirmed: None,
        }
    }
}

impl Outcome {
    /// Waits for pending releases, and reports a release that was not confirmed.
    pub(crate) async fn leave(self, client: &Client) -> Exit {
        let left = client.shutdown(LINGER).await;
        if let Some(unconfirmed) = self.unconfirmed.filter(|_| 0 < left) {
            output::say(&unconfirmed);
        }
        self.exit
    }
}

/// Runs the command until it ends or the lock is lost.
pub(crate) async fn supervise(
    held: Held,
    args: &WorkArgs,
    of: &StoreArgs,
    grace: Duration,
    liveness: Option<&Path>,
    interrupts: &mut Interrupts,
) -> Outcome {
    let mut deadline = Deadline::of(&held, args.lease);
    if !held.is_held() {
        // This process may have been stopped since the acquire.
        return lost(&held.lost().await, "before the command started").into();
    }
    let env = [held.env(), store::env(of)].concat();
    let mut child = match Child::start(&args.command, &env, liveness) {
        Ok(child) => child,
        Err(error) => {
            output::say(&format!("cannot start a process: {error}"));
            give_up(held, "no process could be started").await;
            return Exit::Os.into();
        }
    };
    let mut interrupted = None;
    let ended = loop {
        tokio::select! {
            biased;
            change = child.changed() => match change {
                Change::Ended(ended) => break Ok(ended),
                Change::Suspended(signal) => {
                    let how = child.stop_too(signal);
                    if held.is_held() {
                        child.resume(how);
                    }
                }
            },
            loss = held.lost() => break Err(loss),
            signal = interrupts.next() => {
                // Arbiter may have been stopped past the lease.
                if signal != Signal::SIGCONT as i32 || held.is_held() {
                    child.forward(signal);
                }
                interrupted = stop_of_work(signal).or(interrupted);
            }
            () = deadline.follow(&held) => {}
        }
    };
    let loss = match ended {
        Ok(ended) => {
            child.let_go();
            if held.is_run() {
                // A service manager signals arbiter and the command at the same moment.
                interrupted = interrupts.stop_already_sent().await.or(interrupted);
            }
            let limit = liveness.map_or(RELEASE, |_| RELEASE_HERE);
            return released(held, ended, interrupted, limit).await;
        }
        Err(loss) => loss,
    };
    stop(&mut child, loss.reason, &deadline, grace).await;
    child.let_go();
    give_up(held, &format!("lost: {}", loss.reason)).await;
    lost(&loss, "while the command ran, and stopped it").into()
}

async fn give_up(held: Held, why: &str) {
    // If the store does not answer, the run counts as crashed.
    let _ = tokio::time::timeout(RELEASE, held.give_up(why)).await;
}

/// Stops the command and its group, with the grace period that the lease leaves.
///
/// If another holder may exist, the group is killed at once: a stopped process would have to
/// continue to end.
async fn stop(child: &mut Child, reason: LostReason, deadline: &Deadline, grace: Duration) {
    let others_may_hold = matches!(reason, LostReason::Taken | LostReason::Deleted);
    if let Some(dead_by) = deadline.of_grace(grace).filter(|_| !others_may_hold) {
        child.terminate();
        tokio::select! {
            biased;
            () = child.all_ended() => return,
            () = deadline::until(dead_by) => {}
        }
    }
    child.kill();
    child.ended().await;
}

fn lost(loss: &Loss, when: &str) -> Exit {
    let name = Printable(&loss.name);
    if loss.reason == LostReason::MaxHold {
        output::say(&format!(
            "stopped the command, which held '{name}' for --max-hold"
        ));
        return Exit::MaxHold;
    }
    let cause = loss.cause().map(|cause| format!(" (it {cause})"));
    output::say(&format!(
        "lost '{name}' {when}: {}{}",
        loss.reason,
        cause.unwrap_or_default()
    ));
    Exit::Lost
}

async fn released(
    held: Held,
    ended: Ended,
    interrupted: Option<Signal>,
    limit: Duration,
) -> Outcome {
    let exit = ended.exit();
    let (names, is_run) = (held.names(), held.is_run());
    let (were, frees) = match held.is_one() {
        true => ("was", "its lease frees it"),
        false => ("were", "their leases free them"),
    };
    let cause = match tokio::time::timeout(limit, held.release(ended, interrupted)).await {
        // The end of a run is recorded before its release, and a failure to do so is an event.
        Ok(Ok(())) if is_run => String::new(),
        Ok(Ok(())) => return exit.into(),
        Ok(Err(Error::Lost(loss))) => return lost(&loss, "before the command ended").into(),
        Ok(Err(error)) => format!(" ({error})"),
        Err(_) => format!(" (no answer within {limit:?})"),
    };
    // The command has run under the lock to its end.
    Outcome {
        exit,
        unconfirmed: Some(format!(
            "the store did not confirm that {names} {were} released{cause}; {frees}"
        )),
    }
}
