//! `arbiter run` against flock(1), around the same command.

use std::process::Command;
use std::time::Instant;

use testkit::Folder;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::COMMAND;
use crate::participant::ARBITER;
use crate::scale::Scale;
use crate::spread::Spread;

/// The command that every machine has.
pub(crate) const FLOCK: &str = "flock(1)";

pub(super) fn measure(
    folder: &Folder,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let arbiter = std::env::current_exe()?.with_file_name("arbiter");
    let file = folder.path().join("flock");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.commands {
        let mut run = Command::new(&arbiter);
        run.args(["run", "--store", &folder.url(), "job", "--", "true"]);
        ours.push(milliseconds(run)?);
        let mut flock = Command::new("flock");
        flock.arg(&file).arg("true");
        theirs.push(milliseconds(flock)?);
    }
    for (who, times) in [(ARBITER, ours), (FLOCK, theirs)] {
        let times = Spread::of(times).ok_or("no command was run")?;
        figures.note_value(round, who, COMMAND, times.median);
    }
    Ok(())
}

fn milliseconds(mut command: Command) -> Result<f64, Failure> {
    let begun = Instant::now();
    if !command.status()?.success() {
        return Err(format!("{command:?} failed").into());
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
