//! Many names used once each: the memory that remains.

use std::thread::sleep;

use testkit::Server;

use super::{LIMIT, many};
use crate::Failure;
use crate::figures::Figures;
use crate::measures::{NAME_BYTES, NAMES_LEFT};
use crate::participant::ARBITER;
use crate::scale::Scale;

pub(super) fn measure(
    server: &Server,
    scale: &Scale,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let mut process = many(&server.url())?;
    let memory = process.memory();
    process.ask(&format!("names {}", scale.names), "used", LIMIT)?;
    sleep(scale.forgotten_after[0]);
    let bytes = (process.memory() - memory).max(0.0) / scale.names as f64;
    let left = server.call(&["DBSIZE"]).int().ok_or("DBSIZE is a number")?;
    figures.note_value(round, ARBITER, NAME_BYTES, bytes);
    figures.note_value(round, ARBITER, NAMES_LEFT, left as f64);
    Ok(())
}
