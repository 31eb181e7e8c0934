//! Access to the system: clocks, randomness, processes.

pub(crate) mod clock;
pub(crate) mod process;
pub(crate) mod rng;
