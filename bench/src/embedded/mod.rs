//! The embedded store: processes side by side, hand-offs, deaths, long queues, many names, and
//! the command against flock(1).

mod command;
mod death;
mod many;
mod processes;

use testkit::Folder;

use crate::Failure;
use crate::figures::Figures;
use crate::measures::{FILE_BETWEEN, FILE_IN_PROCESS};
use crate::participant::{ARBITER, Participant, SQLITE};
use crate::scale::Scale;
use crate::sections::hand_offs;
use crate::stage::Stage;

pub(crate) fn embedded(scale: &Scale, round: usize, figures: &mut Figures) -> Result<(), Failure> {
    let folder = Folder::new();
    for library in [ARBITER, SQLITE] {
        eprintln!("embedded: {library}");
        let participant = Participant::ours(library)?;
        let mut stage = Stage::on_folder(&participant, folder.url());
        processes::cycles(&mut stage, scale, round, figures)?;
        figures
            .versions
            .insert(library.to_owned(), stage.version.clone());
    }
    let participant = Participant::ours(ARBITER)?;
    let mut stage = Stage::on_folder(&participant, folder.url());
    for (processes, measures) in [(1, &FILE_IN_PROCESS), (2, &FILE_BETWEEN)] {
        hand_offs(&mut stage, processes, measures, scale, round, figures)?;
    }
    stage.clear();
    death::measure(&mut stage, round, figures)?;
    command::measure(&folder, scale, round, figures)?;
    if round == 0 {
        many::queues(&folder, scale, figures)?;
        many::names(&folder, scale, figures)?;
    }
    Ok(())
}
