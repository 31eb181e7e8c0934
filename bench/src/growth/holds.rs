//! Many holds of one client: the memory of each, their renewals, and cycles beside them.

use std::thread::sleep;
use std::time::Duration;

use testkit::Server;

use super::{LIMIT, many};
use crate::Failure;
use crate::figures::Figures;
use crate::measures::{BESIDE_HOLDS, HOLD_BYTES, RENEWALS_CLIENT, RENEWALS_LATE, RENEWALS_SERVER};
use crate::participant::ARBITER;
use crate::scale::Scale;
use crate::usage::Usage;

/// The rest of a lease of 30 s when its renewal is due: two thirds, less the margin.
const LEFT_WHEN_DUE_MS: f64 = 20_000.0 - 500.0;
const TENTH_MS: f64 = 3_000.0;

pub(super) fn measure(
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut note = |measure, value| figures.note_value(round, ARBITER, measure, value);
    let mut process = many(&server.url())?;
    let memory = process.memory();
    let mut held = 0;
    for (at, count) in scale.holds.into_iter().enumerate() {
        process.ask(&format!("hold {}", count - held), "held", LIMIT)?;
        held = count;
        if count == scale.holds[scale.holds.len() - 1] {
            note(HOLD_BYTES, (process.memory() - memory) / count as f64);
        }
        let line = format!("cycles 64 {}", scale.cycles_ms);
        let cycles = process.ask(&line, "cycles", LIMIT)?;
        note(BESIDE_HOLDS[at], cycles[0] / cycles[1]);
    }

    let (used, cpu) = (Usage::of(server), process.cpu());
    sleep(scale.renewals);
    let percent = |seconds: f64| 100.0 * seconds / scale.renewals.as_secs_f64();
    note(
        RENEWALS_CLIENT,
        percent((process.cpu() - cpu).as_secs_f64()),
    );
    note(
        RENEWALS_SERVER,
        percent(Usage::of(server).since(&used).cpu / 1e6),
    );

    // A separate measurement, since a check of all holds costs the process time.
    let for_more_than_a_third = Duration::from_millis(11_000).as_millis();
    let least = process.ask(&format!("least {for_more_than_a_third}"), "least", LIMIT)?[0];
    note(
        RENEWALS_LATE,
        (LEFT_WHEN_DUE_MS - least).max(0.0) / TENTH_MS,
    );
    Ok(())
}
