//! Continues a hand-off that one step did not finish.

use std::time::Duration;

use arbiter_lock_core::{Contender, Ended, Name, Request};

use crate::store::{Envelope, StoreHandle};
use crate::system::rng;

/// Finishes a hand-off. If that fails, the waiters are granted at their next poll.
pub(crate) async fn finish_hand_off(handle: &StoreHandle, name: &Name) {
    // Ending a contender that does not exist hands off, and changes nothing else.
    let id = rng::draw_id();
    let end = Request::End {
        contender: Contender::with_id(id).into(),
        tombstone: false,
    };
    while let Ok(Envelope::<Ended> { again: true, .. }) =
        handle.send(name, &end, Duration::MAX).await
    {}
}
