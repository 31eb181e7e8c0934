//! Going on with a hand-over that was more than one step does.

use std::time::Duration;

use arbiter_lock_core::{Mode, Name, Request};

use crate::store::StoreHandle;
use crate::system::rng;

/// Hands over what a step has left. Where that fails, those who wait find it at their next look.
pub(crate) async fn hand_over_the_rest(handle: &StoreHandle, name: &Name) {
    while let Ok(said) = handle.end(name, &nobody(), false, Duration::MAX).await {
        if !said.again {
            return;
        }
    }
}

/// A request that never was: its end hands over, and changes nothing else.
fn nobody() -> Request {
    Request {
        id: format!("{:032x}", rng::draw::<u128>()).into(),
        mode: Mode::Exclusive,
        lease_ms: 0,
        channel: "-".into(),
        label: "".into(),
    }
}
