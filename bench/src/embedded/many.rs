//! Long queues, and many names used once.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use testkit::Folder;

use crate::Failure;
use crate::figures::Figures;
use crate::growth::many;
use crate::measures::{FILE_LEFT, FILE_NAME_BYTES, FILE_NAMES, FILE_TRY, FILE_TURN};
use crate::participant::ARBITER;
use crate::scale::Scale;

const LIMIT: Duration = Duration::from_secs(300);
const TRIES: usize = 300;

/// Measures a try beside a name with many waiters, and their turns.
pub(super) fn queues(folder: &Folder, scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let mut process = many(&folder.url())?;
    for (at, waiters) in scale.waiters.into_iter().enumerate() {
        process.ask(&format!("wait {waiters}"), "waiting", LIMIT)?;
        let tries = process.ask(&format!("tries {TRIES}"), "tries", LIMIT)?;
        figures.note_value(0, ARBITER, FILE_TRY[at], tries[0]);
        let drained = process.ask("drain", "drained", LIMIT)?;
        let turn = drained[0] * 1e6 / waiters as f64;
        figures.note_value(0, ARBITER, FILE_TURN[at], turn);
    }
    Ok(())
}

/// Measures the remains of many names that were used once.
pub(super) fn names(folder: &Folder, scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let mut process = many(&folder.url())?;
    let memory = process.memory();
    let used = process.ask(&format!("names {}", scale.names), "used", LIMIT)?;
    sleep(scale.forgotten_after[1]);
    let bytes = (process.memory() - memory).max(0.0) / scale.names as f64;
    let mut note = |measure, value| figures.note_value(0, ARBITER, measure, value);
    note(FILE_NAMES, used[0] / used[1]);
    note(FILE_NAME_BYTES, bytes);
    note(
        FILE_LEFT,
        size(&folder.path().join("store")) as f64 / 1_024.0,
    );
    Ok(())
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
