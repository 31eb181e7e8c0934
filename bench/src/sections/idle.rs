//! What somebody costs who waits while nothing happens.
//!
//! A holder and a waiter in processes of their own: commands are counted with and without the
//! waiter, in windows that lie before the holder's first renewal is due.

use std::thread::sleep;
use std::time::Duration;

use testkit::Server;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{IDLE_COMMANDS, IDLE_CPU};
use crate::monitor::Monitor;
use crate::scale::Scale;
use crate::stage::Stage;

/// Then a waiter has said what it says once.
const SETTLE: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(2);

pub(crate) fn idle(
    stage: &mut Stage<'_>,
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let library = stage.participant.library;
    let acquire = format!("acquire 0 {}", stage.fresh_name());
    let [holder, waiter] = stage.processes(2)? else {
        return Err("there are not two processes".into());
    };
    holder.tell(&acquire)?;
    holder.hear(LIMIT)?;
    let before = commands_per_second(server, scale.idle)?;
    waiter.tell(&acquire)?;
    sleep(SETTLE);
    let cpu = waiter.cpu();
    let with_waiter = commands_per_second(server, scale.idle)?;
    let cpu = (waiter.cpu() - cpu).as_secs_f64() / scale.idle.as_secs_f64();
    let commands = (with_waiter - before).max(0.0);
    figures.note_value(round, library, IDLE_COMMANDS, commands);
    figures.note_value(round, library, IDLE_CPU, cpu * 100.0);

    holder.tell("release 0")?;
    holder.hear(LIMIT)?;
    waiter.hear(LIMIT)?;
    waiter.tell("release 0")?;
    waiter.hear(LIMIT).map(drop)
}

fn commands_per_second(server: &Server, time: Duration) -> Result<f64, Failure> {
    let monitor = Monitor::start(server)?;
    sleep(time);
    Ok(monitor.stop()?.sent() / time.as_secs_f64())
}
