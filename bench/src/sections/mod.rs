//! The measures of every library.

mod crowd;
mod cycles;
mod hand_off;
mod idle;

pub(crate) use crowd::{crowd, duel, note_turns};
pub(crate) use cycles::cycles;
pub(crate) use hand_off::hand_offs;
pub(crate) use idle::idle;
