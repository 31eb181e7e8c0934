//! A grant that counts only once it is claimed, or acknowledged by replicas.

use std::time::Duration;

use arbiter_lock_core::{Mode, Renewal, Renewed, Request};

use super::Waiting;
use super::attempt::Attempt;
use super::failures::is_unacknowledged;
use crate::holds::hold::Validity;
use crate::store::Failure;
use crate::system::rng;

impl Waiting {
    /// Returns the validity of a grant, or `None` if it is too old. If the provisional TTL is too
    /// short to work in, or replicas have to acknowledge the hold, the grant is claimed first, and
    /// only the claim counts.
    pub(super) async fn claim(&mut self, grant: Validity) -> Result<Option<Validity>, Failure> {
        if !self.attempt.is_valid(grant) {
            return Ok(None);
        }
        let needed = self.attempt.options.acknowledgement;
        if !needed.is_needed() && !self.attempt.has_to_claim(grant) {
            return Ok(Some(grant));
        }
        let deadline = grant.base + grant.ttl;
        let deadline = self.end.map_or(deadline, |end| end.min(deadline));
        loop {
            let sent = self.attempt.clock.now();
            let left = deadline.checked_sub(sent).filter(|left| !left.is_zero());
            let Some(left) = left else {
                return Ok(None);
            };
            let Attempt {
                handle,
                name,
                contender,
                ..
            } = &self.attempt;
            let request = Request::Renew(Renewal {
                owner: contender.id.clone(),
                fence: grant.fence,
                lease_ms: contender.lease_ms,
                may_share: contender.mode != Mode::Exclusive,
            });
            let claimed = handle.send_acknowledged(name, &request, needed, left).await;
            match claimed.map(|envelope| envelope.reply) {
                Ok(Renewed::Renewed { ttl_ms }) => {
                    let ttl = Duration::from_millis(ttl_ms);
                    let claimed = Validity {
                        base: sent,
                        ttl,
                        ..grant
                    };
                    return Ok(self.attempt.is_valid(claimed).then_some(claimed));
                }
                Ok(_) => return Ok(None),
                Err(failure) if is_unacknowledged(&failure) || !failure.is_transient() => {
                    return Err(failure);
                }
                Err(_) => tokio::time::sleep(self.backoff.next(rng::draw()).min(left)).await,
            }
        }
    }
}
