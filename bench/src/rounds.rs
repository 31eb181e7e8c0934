//! The rounds. In each, every participant takes its turn on one server, so a machine that is slow
//! for a while slows all of them.

use testkit::Server;

use crate::Failure;
use crate::cluster::cluster;
use crate::embedded::embedded;
use crate::figures::Figures;
use crate::growth::growth;
use crate::measures::{BETWEEN, IN_PROCESS};
use crate::participant::Participant;
use crate::scale::Scale;
use crate::sections::{crowd, cycles, duel, hand_offs, idle};
use crate::settings::{Section, Settings};
use crate::stage::Stage;
use crate::usage;

/// Returns the figures, and the name of the server.
pub(crate) fn all(settings: &Settings) -> Result<(Figures, String), Failure> {
    let participants = Participant::all(settings)?;
    let server = Server::start();
    let mut figures = Figures::default();
    for round in 0..settings.rounds {
        for participant in &participants {
            eprintln!(
                "round {} of {}: {}",
                round + 1,
                settings.rounds,
                participant.name
            );
            libraries(participant, &server, settings, round, &mut figures);
        }
        if settings.wants(Section::Cluster) {
            cluster(&participants, &settings.scale, round, &mut figures);
        }
        if settings.wants(Section::Growth) {
            growth(&settings.scale, round, &mut figures);
        }
        if settings.wants(Section::Embedded)
            && let Err(failure) = embedded(&settings.scale, round, &mut figures)
        {
            figures.note_failure(format!("embedded: {failure}"));
        }
    }
    Ok((figures, usage::version(&server)))
}

/// A step of a round. Measurements in one process come first, then those with two.
type Step = fn(&mut Stage<'_>, &Server, &Scale, usize, &mut Figures) -> Result<(), Failure>;
const STEPS: [(Section, &str, Step); 6] = [
    (Section::Cycles, "cycles", cycles),
    (
        Section::Crowd,
        "crowd",
        |stage, _, scale, round, figures| crowd(stage, scale, round, figures),
    ),
    (
        Section::HandOff,
        "hand-off in a process",
        |stage, _, scale, round, figures| {
            hand_offs(stage, 1, &IN_PROCESS, scale, round, figures).map(drop)
        },
    ),
    (
        Section::HandOff,
        "hand-off between processes",
        |stage, _, scale, round, figures| {
            hand_offs(stage, 2, &BETWEEN, scale, round, figures).map(drop)
        },
    ),
    (
        Section::Crowd,
        "two processes on a name",
        |stage, _, scale, round, figures| duel(stage, scale, round, figures),
    ),
    (Section::Idle, "idle", idle),
];

fn libraries(
    participant: &Participant,
    server: &Server,
    settings: &Settings,
    round: usize,
    figures: &mut Figures,
) {
    let mut stage = Stage::on_server(participant, server);
    for (section, name, step) in STEPS {
        // Counts, unlike times, are the same in every round.
        let is_due = section != Section::Idle || round == 0;
        if !is_due || !settings.wants(section) {
            continue;
        }
        if let Err(failure) = step(&mut stage, server, &settings.scale, round, figures) {
            let library = participant.name;
            if failure.to_string().starts_with("unable ") {
                figures.note_failure(format!("{library}: {failure}"));
            } else {
                figures.note_failure(format!("{library}: {name}: {failure}"));
                stage.clear();
            }
        }
    }
    figures
        .versions
        .insert(participant.name.to_owned(), stage.version.clone());
}
