//! What the library takes from the system: clocks, randomness, processes.

pub(crate) mod chance;
pub(crate) mod clock;
pub(crate) mod process;
