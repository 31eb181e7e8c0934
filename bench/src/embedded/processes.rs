//! Cycles of one process, and of two, on names of their own and on one.

use std::time::Duration;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{Crowd, FILE_CYCLES, FILE_ONE_NAME, FILE_OWN_NAMES};
use crate::participant::SQLITE;
use crate::process::Process;
use crate::scale::Scale;
use crate::sections::note_turns;
use crate::stage::{ANSWER_LIMIT, Stage};

pub(super) fn cycles(
    stage: &mut Stage<'_>,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let library = stage.participant.name;
    let ms = scale.crowd_ms;
    let alone = stage
        .process()?
        .ask(&format!("cycles 1 {ms}"), "cycles", ANSWER_LIMIT)?;
    figures.note_value(round, library, FILE_CYCLES, alone[0] / alone[1]);

    // One task of `cycles` and one of `crowd` differ in nothing but the name.
    let (mine, its) = (format!("cycles 1 {ms}"), format!("crowd 1 {ms}"));
    let both: &[(&Crowd, [&String; 2])] = match library {
        // No participant reads the owner in its rows: the name makes no difference.
        SQLITE => &[(&FILE_OWN_NAMES, [&mine, &mine])],
        _ => &[
            (&FILE_OWN_NAMES, [&mine, &its]),
            (&FILE_ONE_NAME, [&its, &its]),
        ],
    };
    for (measures, lines) in both {
        let processes = stage.processes(2)?;
        for (process, line) in processes.iter_mut().zip(lines) {
            process.send_line(line)?;
        }
        let turns = processes.iter().map(|process| turns(process, ms));
        let turns = turns.collect::<Result<Vec<_>, _>>()?;
        let seconds = turns.iter().map(|turn| turn.seconds).fold(0.0, f64::max);
        let worst = turns.iter().map(|turn| turn.worst_ms).fold(0.0, f64::max);
        let counts: Vec<f64> = turns.iter().map(|turn| turn.count).collect();
        note_turns(measures, seconds, worst, &counts, |measure, value| {
            figures.note_value(round, library, measure, value);
        });
    }
    Ok(())
}

struct Turns {
    count: f64,
    seconds: f64,
    /// Of `cycles` only the time that 99 of a hundred do not exceed is known.
    worst_ms: f64,
}

fn turns(process: &Process, ms: u64) -> Result<Turns, Failure> {
    let line = process.receive(Duration::from_millis(ms) + ANSWER_LIMIT)?;
    let (word, rest) = line.split_once(' ').ok_or("an answer has numbers")?;
    let numbers = rest.split(' ').map(str::parse::<f64>);
    let turns = match (word, &numbers.collect::<Result<Vec<_>, _>>()?[..]) {
        ("cycles", [count, seconds, _, p99]) => (*count, *seconds, p99 / 1e3),
        ("crowd", [seconds, worst, count]) => (*count, *seconds, *worst),
        _ => return Err(format!("unexpected line: {line}").into()),
    };
    let (count, seconds, worst_ms) = turns;
    Ok(Turns {
        count,
        seconds,
        worst_ms,
    })
}
