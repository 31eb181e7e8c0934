//! How a caller's own thread comes by a turn at the gate.

use std::fs::File;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::clock::Clock;

/// How long to ask before the step is left to the gate's thread: to sleep takes longer.
const SOON: Duration = Duration::from_micros(40);
/// The pause between two questions, in turns of the processor.
const PAUSE: u32 = 16;

/// Locks the gate if it opens within the time of a step or two.
pub(super) fn opens_soon(gate: &File) -> bool {
    let begun = Clock::Boot.now();
    loop {
        if is_open(gate) {
            return true;
        }
        if SOON < Clock::Boot.now().saturating_sub(begun) {
            return false;
        }
        for _ in 0..PAUSE {
            std::hint::spin_loop();
        }
    }
}

fn is_open(gate: &File) -> bool {
    flock(gate, FlockOperation::NonBlockingLockExclusive).is_ok()
}
