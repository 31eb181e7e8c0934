//! The downgrade of a writer to a reader.
//!
//! The hold counts as shared from before the request is sent until the store has refused it, since
//! readers may be granted even if the answer is lost.

use std::time::Duration;

use arbiter_lock_core::{Downgraded, Renewed, Request};

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::errors::lost_reason::LostReason;
use crate::holds::guard::Grip;
use crate::holds::hold::Exclusivity;
use crate::primitives::rw_lock::READ;
use crate::printable::Printable;
use crate::store::{Envelope, Failure};

impl Grip {
    /// Downgrades the hold, for a guard that is itself `asking` (0 or 1) of the session's writers.
    pub(crate) async fn downgrade(&self, asking: usize) -> Result<(), Error> {
        let state = &self.state;
        if let Some(reason) = state.over() {
            return Err(state.lost(reason));
        }
        let before = state.begin_downgrade(asking);
        let before = before.ok_or_else(|| another_writes(state.name.as_str()))?;
        if before == Exclusivity::Shared {
            return Ok(());
        }
        match self.send_downgrade().await {
            Ok(Downgraded::Downgraded { .. }) => {
                state.set_exclusivity(Exclusivity::Shared);
                match state.over() {
                    Some(reason) => Err(state.lost(reason)),
                    None => Ok(()),
                }
            }
            Ok(Downgraded::NotYours { taken }) => {
                let reason = LostReason::of(Renewed::NotYours { taken });
                let reason = self.inner.keeper.lose(state, reason);
                Err(state.lost(reason))
            }
            Ok(Downgraded::Refused(refusal)) => {
                state.set_exclusivity(before);
                Err(self.inner.refused(&state.name, READ, refusal))
            }
            Err(failure) => {
                if !failure.may_have_run {
                    state.set_exclusivity(before);
                }
                Err(self.inner.store_error(&state.name, failure))
            }
        }
    }

    /// Sends the request until there is nothing left to hand off.
    async fn send_downgrade(&self) -> Result<Downgraded, Failure> {
        let (state, handle) = (&self.state, self.inner.handle());
        let request = Request::Downgrade(state.renewal());
        loop {
            let sent = self.inner.clock.now();
            let Envelope { reply, again, .. } =
                handle.send(&state.name, &request, Duration::MAX).await?;
            if let Downgraded::Downgraded { ttl_ms } = reply {
                // Replicas have not acknowledged it: the keeper renews it.
                if !state.options.acknowledgement.is_needed() {
                    state.confirm(sent, Duration::from_millis(ttl_ms));
                    self.inner.keeper.confirmed(state);
                }
            }
            if !again {
                return Ok(reply);
            }
        }
    }
}

fn another_writes(name: &str) -> Error {
    Invalid::new(
        "lock",
        format!(
            "another guard of the session writes '{}' and counts on being alone: release it before you downgrade",
            Printable(name),
        ),
    ).into()
}
