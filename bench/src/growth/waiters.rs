//! Many waiters of one client: the memory of each, and their cost while the lock is held.

use std::thread::sleep;
use std::time::Duration;

use testkit::Server;

use super::{LIMIT, many};
use crate::Failure;
use crate::figures::Figures;
use crate::measures::{WAITER_BYTES, WAITER_SERVER_BYTES, WAITERS_COMMANDS, WAITERS_CPU};
use crate::participant::ARBITER;
use crate::scale::Scale;
use crate::usage::{self, Usage};

pub(super) fn measure(
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut note = |measure, value| figures.note_value(round, ARBITER, measure, value);
    let mut process = many(&server.url())?;
    process.ask(&format!("wait {}", scale.idle_waiters), "waiting", LIMIT)?;
    sleep(Duration::from_secs(2));
    let (used, cpu) = (Usage::of(server), process.cpu());
    sleep(scale.idle_waiters_for);
    let seconds = scale.idle_waiters_for.as_secs_f64();
    let (calls, _) = Usage::of(server).since(&used).scripts();
    note(
        WAITERS_CPU,
        100.0 * (process.cpu() - cpu).as_secs_f64() / seconds,
    );
    note(
        WAITERS_COMMANDS,
        calls / seconds / scale.idle_waiters as f64,
    );
    process.ask("drain", "drained", LIMIT)?;
    drop(process);

    server.call(&["FLUSHALL"]);
    let mut process = many(&server.url())?;
    let count = scale.waiters[2];
    let (client, on_server) = (process.memory(), usage::memory(server));
    process.ask(&format!("wait {count}"), "waiting", LIMIT)?;
    let each = |bytes: f64| bytes / count as f64;
    note(WAITER_BYTES, each(process.memory() - client));
    note(WAITER_SERVER_BYTES, each(usage::memory(server) - on_server));
    process.ask("drain", "drained", LIMIT).map(drop)
}
