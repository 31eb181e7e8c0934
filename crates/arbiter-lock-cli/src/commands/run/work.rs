//! The command while the guard holds: it has ended before the lock can be anybody else's.

use std::path::Path;
use std::time::Duration;

use arbiter_lock::{Error, Guard, LostReason};

use super::deadline::{self, Deadline};
use super::interrupts::Interrupts;
use crate::child::{Change, Child, Ended};
use crate::cli::RunArgs;
use crate::exit::Exit;
use crate::output;
use crate::store;

/// How long to wait for the store to confirm a release.
pub(super) const RELEASE: Duration = Duration::from_millis(650);

/// Runs the command, and answers for it.
pub(super) async fn work(
    guard: Guard,
    args: &RunArgs,
    grace: Duration,
    liveness: Option<&Path>,
    interrupts: &mut Interrupts,
) -> Exit {
    let mut deadline = Deadline::of(&guard, args.lease);
    if !guard.is_held() {
        // Stopped on the way here: it must not even start.
        return lost(
            guard.name(),
            guard.lost().await,
            "before the command started",
        );
    }
    let mut child = match start(&guard, args, liveness) {
        Ok(child) => child,
        Err(exit) => return exit,
    };
    let mut interrupted = None;
    let ended = loop {
        tokio::select! {
            biased;
            change = child.changed() => match change {
                Change::Ended(ended) => break Ok(ended),
                Change::Suspended(signal) => {
                    let how = child.stop_too(signal);
                    if guard.is_held() {
                        child.resume(how);
                    }
                }
            },
            reason = guard.lost() => break Err(reason),
            signal = interrupts.next() => {
                child.signal(signal);
                interrupted = Some(signal);
            }
            () = deadline.follow(&guard) => {}
        }
    };
    let reason = match ended {
        Ok(ended) => {
            child.let_go();
            return released(guard, ended, interrupted).await;
        }
        Err(reason) => reason,
    };
    stop(&mut child, reason, &deadline, grace).await;
    child.let_go();
    lost(
        guard.name(),
        reason,
        "while the command ran, and stopped it",
    )
}

fn start(guard: &Guard, args: &RunArgs, liveness: Option<&Path>) -> Result<Child, Exit> {
    let env = [
        ("ARBITER_NAME", guard.name().to_owned()),
        ("ARBITER_OWNER", guard.owner().to_owned()),
        ("ARBITER_FENCE", guard.fence().to_string()),
    ];
    Child::start(&args.command, &env, liveness).map_err(|error| {
        output::say(&format!("cannot start a process: {error}"));
        Exit::Os
    })
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

async fn released(guard: Guard, ended: Ended, interrupted: Option<i32>) -> Exit {
    let exit = interrupted.map_or(ended.exit(), Exit::DieOf);
    let name = guard.name().to_owned();
    match tokio::time::timeout(RELEASE, guard.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(Error::Lost(loss))) => {
            return lost(&name, loss.reason, "before the command ended");
        }
        // The command has run under the lock to its end.
        Ok(Err(error)) => {
            store::fail(&error);
            output::say("it was not released; at the latest its lease frees it");
        }
        Err(_) => output::say(&format!(
            "the store did not confirm that '{}' was released; at the latest its lease frees it",
            name.escape_debug()
        )),
    }
    exit
}
