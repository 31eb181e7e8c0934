//! Acquires that replicas have to acknowledge.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Backoff;

use super::acquire_by;
use super::attempt::{AcquireParams, Attempt};
use super::failures::NotAcquired;
use crate::errors::error::Error;
use crate::holds::hold::HoldState;
use crate::primitives::options::WaitLimit;
use crate::system::rng;

/// Takes the lock, and tries again within the wait limit if too few replicas acknowledge it. Each
/// time the request has been ended by then.
pub(super) async fn acquire_acknowledged(params: AcquireParams) -> Result<Arc<HoldState>, Error> {
    let AcquireParams { inner, options, .. } = &params;
    let begun = inner.clock.now();
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    let mut before: Option<(Duration, Error)> = None;
    loop {
        let attempt = Attempt::new(params.clone());
        let attempt = attempt.map(|attempt| attempt.begun_at(begun));
        let error = match acquire_by(attempt).await {
            Ok(hold) => return Ok(hold),
            Err(NotAcquired::Failed(error)) => {
                // The end of the wait cut the last try short: the error before it has more detail.
                let before = before.filter(|_| error.is_unavailable());
                return Err(before.map_or(error, |(_, before)| before));
            }
            Err(NotAcquired::Unacknowledged(error)) => error,
        };
        let now = inner.clock.now();
        let is_first = before.is_none();
        let failing_since = before.map_or(now, |(since, _)| since);
        let end = match options.wait_limit {
            WaitLimit::Try => now,
            WaitLimit::AtMost(limit) => begun.saturating_add(limit),
            WaitLimit::Forever => failing_since.saturating_add(inner.store_timeout),
        };
        let pause = backoff.next(rng::draw());
        if end <= now.saturating_add(pause) {
            return Err(error);
        }
        if is_first && let Error::Unavailable(unavailable) = &error {
            let waited = now.saturating_sub(begun);
            inner.report_outage(&params.name, waited, &unavailable.failure);
        }
        before = Some((failing_since, error));
        tokio::time::sleep(pause).await;
    }
}
