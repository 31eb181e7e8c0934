//! A grant that counts only once it is claimed, or acknowledged by replicas.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Mode, Name, Renewal, Renewed, Request};

use super::attempt::{Attempt, Origin};
use super::{NotAcquired, Waiting, acquire_by};
use crate::engine::Engine;
use crate::errors::error::Error;
use crate::events::metrics::Series;
use crate::holds::hold::{HoldState, Validity};
use crate::primitives::options::{Options, WaitLimit};
use crate::store::{Failure, FailureKind};
use crate::system::rng;

/// Returns whether that failure of a write means that too few replicas have acknowledged it.
pub(super) fn is_unacknowledged(failure: &Failure) -> bool {
    failure.kind == FailureKind::NoReplicas && failure.may_have_run
}

/// Acquires, and tries again within the wait limit if too few replicas have acknowledged it. Each
/// time the request has been ended by then.
pub(super) async fn acquire_acknowledged(
    inner: Arc<Engine>,
    name: Name,
    mode: Mode,
    options: Arc<Options>,
    origin: Origin,
    series: Series,
) -> Result<Arc<HoldState>, Error> {
    let begun = inner.clock.now();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let mut unacknowledged: Option<(Duration, Failure)> = None;
    loop {
        let (inner, options) = (inner.clone(), options.clone());
        let (name, origin, series) = (name.clone(), origin.clone(), series.clone());
        let attempt = Attempt::new(
            inner.clone(),
            name.clone(),
            mode,
            options.clone(),
            origin,
            series,
        );
        let attempt = attempt.map(|attempt| attempt.begun_at(begun));
        let failure = match acquire_by(attempt).await {
            Ok(hold) => return Ok(hold),
            Err(NotAcquired::Failed(error)) => {
                // The end of the wait cut the last try short: the one before says more.
                let before = unacknowledged.filter(|_| matches!(error, Error::Unavailable(_)));
                return Err(before.map_or(error, |(_, before)| inner.store_error(&name, before)));
            }
            Err(NotAcquired::Unacknowledged(failure)) => failure,
        };
        let now = inner.clock.now();
        if unacknowledged.is_none() {
            inner.report_outage(&name, now.saturating_sub(begun), &failure);
        }
        let failing_since = unacknowledged.map_or(now, |(since, _)| since);
        unacknowledged = Some((failing_since, failure.clone()));
        let end = match options.wait_limit {
            WaitLimit::Try => now,
            WaitLimit::AtMost(limit) => begun.saturating_add(limit),
            WaitLimit::Forever => failing_since.saturating_add(inner.store_timeout),
        };
        let pause = backoff.next(rng::draw());
        if end <= now.saturating_add(pause) {
            return Err(inner.store_error(&name, failure));
        }
        tokio::time::sleep(pause).await;
    }
}

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
