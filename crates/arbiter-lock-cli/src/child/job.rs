//! The shell job that arbiter is part of, which is stopped and continued as a whole.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid};

/// Stops arbiter's process group (a pipeline, a script around it), as Ctrl-Z does.
///
/// Returns when the group is continued. Returns false and stops nothing if no shell would ever
/// continue the group; the kernel spares such a group as well.
pub(crate) fn stop() -> bool {
    if !is_of_a_shell() {
        return false;
    }
    killpg(getpgrp(), Signal::SIGSTOP).is_ok()
}

/// Returns whether a process of the same session, outside the group, is its parent.
fn is_of_a_shell() -> bool {
    let outside = |parent: Pid| {
        let elsewhere = getpgid(Some(parent)).is_ok_and(|group| group != getpgrp());
        elsewhere && getsid(Some(parent)).is_ok_and(|session| getsid(None) == Ok(session))
    };
    outside(getppid()) || parent_of(getpgrp()).is_some_and(outside)
}

/// Returns the parent of another process, if the kernel reports it.
fn parent_of(process: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain anything. Then come the state and the parent.
    let (_, rest) = stat.rsplit_once(')')?;
    let parent = rest.split_whitespace().nth(1)?;
    parent.parse().ok().map(Pid::from_raw)
}
