//! Arbiter with many holds, waiters or names.

mod holds;
mod names;
mod release;
mod server_time;
mod waiters;

use std::time::Duration;

use testkit::Server;

use crate::Failure;
use crate::figures::Figures;
use crate::participant::own_program;
use crate::process::Process;
use crate::scale::Scale;
use crate::stage::ANSWER_LIMIT;

/// Long enough to take or free everything there is.
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) use server_time::GO_SCRIPTS;

type Part = fn(&Server, &Scale, usize, &mut Figures) -> Result<(), Failure>;

/// Measures growth. Long measurements that hardly differ between rounds run in the first only.
pub(crate) fn growth(scale: &Scale, round: usize, figures: &mut Figures) {
    let parts: &[(&str, Part)] = &[
        ("server time", server_time::measure),
        ("releases", release::measure),
        ("holds", holds::measure),
        ("waiters", waiters::measure),
        ("names", names::measure),
    ];
    let of_this_round = if round == 0 { parts } else { &parts[..2] };
    for (name, part) in of_this_round {
        eprintln!("growth: {name}");
        let server = Server::start();
        if let Err(failure) = part(&server, scale, round, figures) {
            figures.note_failure(format!("growth: {name}: {failure}"));
        }
    }
}

/// Starts Arbiter in a separate process, warmed up.
pub(crate) fn many(url: &str) -> Result<Process, Failure> {
    let mut process = Process::start(&own_program("many")?, &[url])?;
    process.ask("cycles 64 500", "cycles", ANSWER_LIMIT)?;
    Ok(process)
}
