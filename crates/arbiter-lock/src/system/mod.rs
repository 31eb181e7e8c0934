//! What the library takes from the system: clocks, randomness, processes.

pub(crate) mod clock;
pub(crate) mod process;
pub(crate) mod rng;
