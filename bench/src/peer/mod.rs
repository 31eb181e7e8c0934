//! Our own participants: programs that speak the lines of `peers/README.md`.

mod arbiter;
mod bare;
mod bare_scripts;
mod lock;
mod many;
mod serve;
mod sqlite;
mod turns;
mod worker;

pub(crate) use many::many;
pub(crate) use serve::peer;
