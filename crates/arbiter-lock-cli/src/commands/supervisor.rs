//! The command while the lock is held: it has ended before that can be anybody else's.

mod deadline;
mod held;
mod interrupts;
mod settings;

use std::path::Path;
use std::time::Duration;

use arbiter_lock::{Error, LostReason};

use crate::child::{Change, Child, Ended};
use crate::cli::WorkArgs;
use crate::exit::Exit;
use crate::output;
use crate::store;
use deadline::Deadline;
pub(crate) use held::Held;
pub(crate) use interrupts::Interrupts;
pub(crate) use settings::{grace, margin, narrator, note, with_settings};

/// How long to wait for the store to confirm a release.
const RELEASE: Duration = Duration::from_millis(650);
/// How long to linger to undo what was left, after a release that may have taken [`RELEASE`].
pub(crate) const LINGER: Duration = Duration::from_millis(300);

/// Runs the command, and answers for it.
pub(crate) async fn supervise(
    held: Held,
    args: &WorkArgs,
    grace: Duration,
    liveness: Option<&Path>,
    interrupts: &mut Interrupts,
) -> Exit {
    let mut deadline = Deadline::of(&held, args.lease);
    if !held.is_held() {
        // Stopped on the way here: it must not even start.
        let (name, reason) = held.lost().await;
        return lost(&name, reason, "before the command started");
    }
    let mut child = match Child::start(&args.command, &held.env(), liveness) {
        Ok(child) => child,
        Err(error) => {
            output::say(&format!("cannot start a process: {error}"));
            give_up(held, "no process could be started").await;
            return Exit::Os;
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
                child.signal(signal);
                interrupted = Some(signal);
            }
            () = deadline.follow(&held) => {}
        }
    };
    let (name, reason) = match ended {
        Ok(ended) => {
            child.let_go();
            return released(held, ended, interrupted).await;
        }
        Err(loss) => loss,
    };
    stop(&mut child, reason, &deadline, grace).await;
    child.let_go();
    give_up(held, &format!("lost: {reason}")).await;
    lost(&name, reason, "while the command ran, and stopped it")
}

async fn give_up(held: Held, why: &str) {
    // Where the store does not answer, the record says that it crashed.
    let _ = tokio::time::timeout(RELEASE, held.give_up(why)).await;
}

/// Stops the command and its group: with time to end, as far as the lease leaves any, but at once
/// where somebody else may hold already: to end, a stopped one would have to go on.
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

fn lost(name: &str, reason: LostReason, when: &str) -> Exit {
    let name = name.escape_debug();
    if reason == LostReason::MaxHold {
        output::say(&format!(
            "stopped the command, which held '{name}' for --max-hold"
        ));
        return Exit::MaxHold;
    }
    output::say(&format!("lost '{name}' {when}: {reason}"));
    Exit::Lost
}

async fn released(held: Held, ended: Ended, interrupted: Option<i32>) -> Exit {
    let exit = interrupted.map_or(ended.exit(), Exit::DieOf);
    let names = held.names();
    match tokio::time::timeout(RELEASE, held.release(ended)).await {
        Ok(Ok(())) => {}
        Ok(Err(Error::Lost(loss))) => {
            return lost(&loss.name, loss.reason, "before the command ended");
        }
        // The command has run under the lock to its end.
        Ok(Err(error)) => {
            store::fail(&error);
            output::say("it was not released; at the latest its lease frees it");
        }
        Err(_) => output::say(&format!(
            "the store did not confirm that {names} was released; at the latest its lease frees it"
        )),
    }
    exit
}
