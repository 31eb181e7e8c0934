//! From writer to reader without a gap.
//!
//! From before the step is sent until the store has denied it, the hold counts as shared: others
//! may have come in, whatever became of the answer.

use std::time::Duration;

use arbiter_lock_core::{Downgraded, Renewed, Request};

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::errors::lost_reason::LostReason;
use crate::errors::refused::Refused;
use crate::holds::guard::Grip;
use crate::holds::hold::Exclusivity;
use crate::primitives::rw_lock::READ;
use crate::store::{Envelope, Failure};

impl Grip {
    /// For a guard that is `asking` of those of its session that count on being alone.
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
                let store = self.inner.store.to_string();
                let name = state.name.as_str();
                Err(Refused::new(name, &store, READ, refusal).into())
            }
            Err(failure) => {
                if !failure.may_have_run {
                    state.set_exclusivity(before);
                }
                Err(self.store_error(failure))
            }
        }
    }

    /// Sends the step until there is nothing more to hand over.
    async fn send_downgrade(&self) -> Result<Downgraded, Failure> {
        let (state, handle) = (&self.state, self.inner.handle());
        let request = Request::Downgrade(state.renewal());
        loop {
            let sent = self.inner.clock.now();
            let Envelope { reply, again, .. } =
                handle.send(&state.name, &request, Duration::MAX).await?;
            if let Downgraded::Downgraded { life_ms } = reply {
                state.confirm(sent, Duration::from_millis(life_ms));
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
            name.escape_debug(),
        ),
    ).into()
}
