//! The time from one worker's call of release until another runs under the lock, both in one
//! process or each in its own.
//!
//! The releaser acquires again only when the other holds, so no worker hands the lock to itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::figures::Figures;
use crate::measures::HandOff;
use crate::process::Process;
use crate::scale::Scale;
use crate::spread::percentile;
use crate::stage::Stage;

/// The time from the line that makes a worker wait to the release: it is in the queue by then.
const PAUSE: Duration = Duration::from_millis(3);
/// A hand-off that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(2);
const MOST_HANGS: usize = 3;
/// The first hand-offs, which do not count: at most that many, and for at most that time.
const WARM_UP: (usize, Duration) = (30, Duration::from_millis(500));

/// Measures hand-offs between one or two processes. Returns how many were made that count.
pub(crate) fn hand_offs(
    stage: &mut Stage<'_>,
    processes: usize,
    measures: &HandOff,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<usize, Failure> {
    let (mut micros, mut hangs) = (Vec::new(), 0);
    let mut left = scale.hand_offs_limit;
    while micros.len() < scale.hand_offs && hangs <= MOST_HANGS && !left.is_zero() {
        let name = stage.fresh_name();
        let mut pair = Pair {
            processes: stage.processes(processes)?,
            name,
            holder: 0,
        };
        let begun = Instant::now();
        let wanted = scale.hand_offs - micros.len();
        let made = pair
            .begin()
            .and_then(|()| pair.make(wanted, left, &mut micros));
        left = left.saturating_sub(begun.elapsed());
        if let Err(failure) = made {
            if failure.to_string().starts_with("unable ") {
                return Err(failure);
            }
            hangs += 1;
            let library = stage.participant.name;
            figures.note_failure(format!("{library}: {}: {failure}", measures.hangs));
            stage.clear();
        }
    }
    let library = stage.participant.name;
    micros.sort_by(f64::total_cmp);
    figures.note_value(round, library, measures.hangs, hangs as f64);
    for (measure, part) in [(measures.p50, 0.5), (measures.p99, 0.99)] {
        let time = percentile(&micros, part).ok_or("no hand-off was made")?;
        figures.note_value(round, library, measure, time);
    }
    Ok(micros.len())
}

/// Two workers that pass a lock to and fro.
struct Pair<'a> {
    processes: &'a mut [Process],
    name: String,
    holder: usize,
}

impl Pair<'_> {
    fn begin(&mut self) -> Result<(), Failure> {
        self.send_line(0, &format!("acquire 0 {}", self.name))?;
        self.time(0, "acquired").map(drop)
    }

    fn make(
        &mut self,
        count: usize,
        limit: Duration,
        micros: &mut Vec<f64>,
    ) -> Result<(), Failure> {
        let warm_up = Instant::now();
        for _ in 0..WARM_UP.0.min(count / 2) {
            self.one()?;
            if WARM_UP.1 < warm_up.elapsed() {
                break;
            }
        }
        let begun = Instant::now();
        for _ in 0..count {
            micros.push(self.one()?);
            if limit < begun.elapsed() {
                break;
            }
        }
        self.send_line(self.holder, &format!("release {}", self.holder))?;
        self.time(self.holder, "released").map(drop)
    }

    /// Returns the microseconds of one hand-off.
    fn one(&mut self) -> Result<f64, Failure> {
        let (from, to) = (self.holder, 1 - self.holder);
        self.send_line(to, &format!("acquire {to} {}", self.name))?;
        sleep(PAUSE);
        self.send_line(from, &format!("release {from}"))?;
        let (mut released, mut acquired) = (None, None);
        for worker in [from, to] {
            match self.line(worker)?.as_slice() {
                [word, nanos] if word == "released" => released = nanos.parse::<i64>().ok(),
                [word, nanos] if word == "acquired" => acquired = nanos.parse::<i64>().ok(),
                other => return Err(format!("unexpected line at a hand-off: {other:?}").into()),
            }
        }
        self.holder = to;
        let (released, acquired) = released.zip(acquired).ok_or("half a hand-off")?;
        Ok((acquired - released) as f64 / 1e3)
    }

    fn of(&mut self, worker: usize) -> &mut Process {
        let count = self.processes.len();
        &mut self.processes[worker % count]
    }

    fn send_line(&mut self, worker: usize, line: &str) -> Result<(), Failure> {
        self.of(worker).send_line(line)
    }

    /// Returns the first and the last word of the next line of a worker's process.
    fn line(&mut self, worker: usize) -> Result<Vec<String>, Failure> {
        let line = self.of(worker).receive(LIMIT)?;
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [word, _, nanos] => Ok(vec![word.to_owned(), nanos.to_owned()]),
            _ => Err(format!("unexpected line: {line}").into()),
        }
    }

    fn time(&mut self, worker: usize, word: &str) -> Result<(), Failure> {
        let line = self.line(worker)?;
        match line.first() {
            Some(first) if first == word => Ok(()),
            _ => Err(format!("{word} was due, not {line:?}").into()),
        }
    }
}
