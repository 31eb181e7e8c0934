//! Cycles per second, every task on its own name, and the cost of a cycle for the client and the
//! server.

use std::time::Duration;

use testkit::Server;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{
    CLIENT_CPU, COMMANDS_PER_CYCLE, CYCLE_P50, CYCLE_P99, CYCLES, IN_COMMANDS, SERVER_CPU, TASKS,
};
use crate::monitor::Monitor;
use crate::scale::Scale;
use crate::stage::{ANSWER_LIMIT, Stage};
use crate::usage::Usage;

pub(crate) fn cycles(
    stage: &mut Stage<'_>,
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let library = stage.participant.name;
    let process = stage.process()?;
    let mut note = |measure, value| figures.note_value(round, library, measure, value);

    let monitor = Monitor::start(server)?;
    let probe = process.ask("cycles 1 200", "cycles", ANSWER_LIMIT);
    let counted = monitor.stop()?;
    note(COMMANDS_PER_CYCLE, counted.sent() / probe?[0]);

    let limit = Duration::from_millis(scale.cycles_ms) + ANSWER_LIMIT;
    for (at, tasks) in TASKS.iter().enumerate() {
        let (used, cpu) = (Usage::of(server), process.cpu());
        let answer = process.ask(
            &format!("cycles {tasks} {}", scale.cycles_ms),
            "cycles",
            limit,
        )?;
        let (used, cpu) = (Usage::of(server).since(&used), process.cpu() - cpu);
        let [count, seconds, p50, p99] = answer[..] else {
            return Err("an answer to cycles has four numbers".into());
        };
        note(CYCLES[at], count / seconds);
        note(CYCLE_P50[at], p50);
        note(CYCLE_P99[at], p99);
        note(
            IN_COMMANDS[at],
            used.in_commands(|command| counted.part_sent(command)) / count,
        );
        note(SERVER_CPU[at], used.cpu / count);
        note(CLIENT_CPU[at], cpu.as_secs_f64() * 1e6 / count);
    }
    Ok(())
}
