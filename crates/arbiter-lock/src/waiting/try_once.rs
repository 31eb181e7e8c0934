//! A single try, which does not wait for a holder.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Request, Tried};

use super::attempt::Attempt;
use super::failures::{NotAcquired, ended, is_unacknowledged, too_late};
use crate::holds::hold::{HoldState, Validity};
use crate::status::Holder;
use crate::store::Envelope;

/// How long a try is repeated while there is more to hand off.
const LONGEST_TRY: Duration = Duration::from_millis(500);

/// Tries once. It does not wait for a holder, and waits for the store for as long as that allows.
pub(super) async fn try_once(mut attempt: Attempt) -> Result<Arc<HoldState>, NotAcquired> {
    let limit = attempt.handle.try_limit();
    // The rest is left for the answer.
    let ready = attempt.ready(limit / 4 * 3).await;
    ready.map_err(|failure| attempt.store_error(failure))?;
    loop {
        let sent = attempt.send();
        let request = Request::TryAcquire(attempt.contender.clone());
        let (handle, name) = (&attempt.handle, &attempt.name);
        let left = limit.saturating_sub(attempt.waited());
        let needed = attempt.options.acknowledgement;
        let step = handle.send_acknowledged(name, &request, needed, left).await;
        let envelope = match attempt.answered(step) {
            Ok(envelope) => envelope,
            Err(failure) if is_unacknowledged(&failure) => {
                return Err(attempt.unacknowledged(failure));
            }
            Err(failure) => return Err(attempt.store_error(failure).into()),
        };
        let Envelope {
            reply, at, again, ..
        } = envelope;
        match reply {
            Tried::Granted { fence, ttl_ms } => {
                let validity = Validity {
                    fence,
                    base: sent,
                    ttl: Duration::from_millis(ttl_ms),
                };
                if attempt.is_valid(validity) {
                    return Ok(attempt.into_hold(validity)?);
                }
                return Err(attempt.store_error(too_late()).into());
            }
            Tried::Busy { .. } if again && attempt.waited() < LONGEST_TRY => {}
            Tried::Busy { holder, .. } => {
                attempt.nothing_to_end();
                let holder = holder.map(|view| Holder::new(&view, at));
                return Err(attempt.contended(holder, None).into());
            }
            Tried::Refused(refusal) => return Err(attempt.refused(refusal).into()),
            Tried::Ended => return Err(attempt.store_error(ended()).into()),
        }
    }
}
