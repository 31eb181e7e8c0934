//! The cost of a waiter while the lock is held.
//!
//! A holder and a waiter are in separate processes, which have made one hand-off before, and no
//! more. A library may continue to renew each hold that it had. Commands are counted with and
//! without the waiter, in windows that lie before the holder's first renewal is due.

use std::thread::sleep;
use std::time::Duration;

use testkit::Server;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{IDLE_COMMANDS, IDLE_CPU};
use crate::monitor::Monitor;
use crate::process::Process;
use crate::scale::Scale;
use crate::stage::Stage;

/// The time after which a waiter has sent its first commands.
const SETTLE: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(2);

pub(crate) fn idle(
    stage: &mut Stage<'_>,
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let library = stage.participant.name;
    let names = [stage.fresh_name(), stage.fresh_name()];
    stage.clear();
    let (mut holder, mut waiter) = (stage.start()?, stage.start()?);
    let [once, name] = names.map(|name| format!("acquire 0 {name}"));

    send_and_await(&mut holder, &once)?;
    waiter.send_line(&once)?;
    hand_off(&mut holder, &mut waiter)?;

    send_and_await(&mut holder, &name)?;
    let before = commands_per_second(server, scale.idle)?;
    waiter.send_line(&name)?;
    sleep(SETTLE);
    let cpu = waiter.cpu();
    let with_waiter = commands_per_second(server, scale.idle)?;
    let cpu = (waiter.cpu() - cpu).as_secs_f64() / scale.idle.as_secs_f64();
    let commands = (with_waiter - before).max(0.0);
    figures.note_value(round, library, IDLE_COMMANDS, commands);
    figures.note_value(round, library, IDLE_CPU, cpu * 100.0);
    hand_off(&mut holder, &mut waiter)
}

/// Releases the holder's lock to the waiter, then the waiter's.
fn hand_off(holder: &mut Process, waiter: &mut Process) -> Result<(), Failure> {
    send_and_await(holder, "release 0")?;
    waiter.receive(LIMIT)?;
    send_and_await(waiter, "release 0")
}

fn send_and_await(process: &mut Process, line: &str) -> Result<(), Failure> {
    process.send_line(line)?;
    process.receive(LIMIT).map(drop)
}

fn commands_per_second(server: &Server, time: Duration) -> Result<f64, Failure> {
    let monitor = Monitor::start(server)?;
    sleep(time);
    Ok(monitor.stop()?.sent() / time.as_secs_f64())
}
