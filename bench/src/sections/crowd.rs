//! Many tasks on one name, which free it as soon as they have it: of one process, or of two.

use std::time::Duration;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{CROWD, Crowd, DUEL};
use crate::scale::Scale;
use crate::stage::{ANSWER_LIMIT, Stage};

const TASKS: usize = 16;

pub(crate) fn crowd(
    stage: &mut Stage<'_>,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let line = format!("crowd {TASKS} {}", scale.crowd_ms);
    let answer = stage.process()?.ask(&line, "crowd", limit(scale))?;
    let [seconds, worst, counts @ ..] = &answer[..] else {
        return Err("an answer to crowd has more numbers".into());
    };
    let library = stage.participant.name;
    note_turns(&CROWD, *seconds, *worst, counts, |measure, value| {
        figures.note_value(round, library, measure, value);
    });
    Ok(())
}

/// Measures two processes on one name at once, with a task in each.
pub(crate) fn duel(
    stage: &mut Stage<'_>,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let line = format!("crowd 1 {}", scale.crowd_ms);
    let processes = stage.processes(2)?;
    for process in &mut *processes {
        process.send_line(&line)?;
    }
    let (mut longest, mut worst, mut counts) = (0_f64, 0_f64, Vec::new());
    for process in processes {
        let line = process.receive(limit(scale))?;
        let words = line.split(' ').skip(1).map(str::parse::<f64>);
        let [seconds, wait, count] = words.collect::<Result<Vec<_>, _>>()?[..] else {
            return Err(format!("unexpected line at a duel: {line}").into());
        };
        longest = longest.max(seconds);
        worst = worst.max(wait);
        counts.push(count);
    }
    let library = stage.participant.name;
    note_turns(&DUEL, longest, worst, &counts, |measure, value| {
        figures.note_value(round, library, measure, value);
    });
    Ok(())
}

/// Records the turns; shares are parts of the mean.
pub(crate) fn note_turns(
    measures: &Crowd,
    seconds: f64,
    worst_ms: f64,
    counts: &[f64],
    mut note: impl FnMut(&'static str, f64),
) {
    let all: f64 = counts.iter().sum();
    let mean = all / counts.len() as f64;
    let share = |count: f64| count / mean;
    note(measures.cycles, all / seconds);
    note(measures.worst, worst_ms);
    note(measures.mean, seconds * 1e3 / mean);
    note(
        measures.least,
        share(counts.iter().copied().fold(f64::MAX, f64::min)),
    );
    note(
        measures.most,
        share(counts.iter().copied().fold(0.0, f64::max)),
    );
}

fn limit(scale: &Scale) -> Duration {
    Duration::from_millis(scale.crowd_ms) + ANSWER_LIMIT
}
