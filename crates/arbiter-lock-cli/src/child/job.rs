//! The shell's job that arbiter is part of: stopped together, continued together.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid};

/// Stops arbiter and whoever shares its group (a pipeline, a script around it), as Ctrl-Z would
/// have; returns when somebody has continued it. Answers false, and stops nothing, where no shell
/// would ever continue it: the kernel spares such a group as well.
pub(super) fn stop() -> bool {
    if !is_of_a_shell() {
        return false;
    }
    killpg(getpgrp(), Signal::SIGSTOP).is_ok()
}

/// Whether somebody outside of the group, in the same session, looks after it.
fn is_of_a_shell() -> bool {
    let outside = |parent: Pid| {
        let elsewhere = getpgid(Some(parent)).is_ok_and(|group| group != getpgrp());
        elsewhere && getsid(Some(parent)).is_ok_and(|session| getsid(None) == Ok(session))
    };
    outside(getppid()) || parent_of(getpgrp()).is_some_and(outside)
}

/// The parent of another process, where the kernel tells.
fn parent_of(process: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name stands in parentheses, and may contain anything; then the state, then the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?;
    parent.parse().ok().map(Pid::from_raw)
}
