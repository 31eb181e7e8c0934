//! Continues a hand-off that was more than one step does.

use std::time::Duration;

use arbiter_lock_core::{Contender, Ended, Name, Request};

use crate::store::{Envelope, StoreHandle};
use crate::system::rng;

/// Hands off what a step has left. If that fails, the waiters find it at their next poll.
pub(crate) async fn finish_hand_off(handle: &StoreHandle, name: &Name) {
    // The end of a contender that never was hands off, and changes nothing else.
    let id = format!("{:032x}", rng::draw::<u128>()).into();
    let end = Request::End {
        contender: Contender::with_id(id).into(),
        tombstone: false,
    };
    while let Ok(Envelope::<Ended> { again: true, .. }) =
        handle.send(name, &end, Duration::MAX).await
    {}
}
