//! Holds that leave their process, and holds that come from another one.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Mode, Renewed, Request, detached_id};

use super::attempt::{AcquireParams, Attempt, Origin};
use super::failures::too_late;
use crate::engine::Engine;
use crate::errors::error::{Error, Loss};
use crate::errors::lost_reason::LostReason;
use crate::events::metrics::AcquireInProgress;
use crate::events::outage::Outage;
use crate::holds::hold::{HoldState, Validity};
use crate::holds::token::Token;
use crate::primitives::options::{Options, WaitLimit};
use crate::store::Failure;
use crate::system::rng;

/// A detached request that is to get a hold. If it is dropped before, its end is posted.
pub(crate) struct Detaching(Attempt);

impl Detaching {
    /// Draws the id, before the hold is given up. The detached hold lasts for `lease`.
    pub(crate) fn new(
        inner: Arc<Engine>,
        state: &HoldState,
        mode: Mode,
        lease: Duration,
    ) -> Result<Self, Error> {
        let options = Options {
            lease,
            note: state.options.note.clone(),
            acknowledgement: state.options.acknowledgement,
            ..Options::default()
        };
        let params = AcquireParams {
            inner,
            name: state.name.clone(),
            mode,
            options: Arc::new(options),
            origin: Origin::default(),
            series: state.series.clone(),
        };
        let id = detached_id(&rng::draw_id());
        Ok(Self(Attempt::with_id(params, id)?))
    }

    /// Transfers the hold within the limit, and returns its token, or why there is none.
    pub(crate) async fn transfer(
        mut self,
        state: &HoldState,
        limit: Duration,
    ) -> Result<Result<Token, LostReason>, Error> {
        let attempt = &mut self.0;
        let (owner, fence) = (&state.contender.id, state.fence);
        let transferred = attempt.transfer(owner, fence, limit).await;
        let (_, reply) = transferred.map_err(|failure| attempt.store_error(failure))?;
        attempt.nothing_to_end();
        if !matches!(reply, Renewed::Renewed { .. }) {
            return Ok(Err(LostReason::of(reply)));
        }
        attempt.leave_hold();
        Ok(Ok(Token {
            name: attempt.name.clone(),
            owner: attempt.contender.id.clone(),
            fence,
            mode: attempt.contender.mode,
        }))
    }
}

/// Makes a hold of this client from a detached one.
pub(crate) async fn adopt(
    inner: Arc<Engine>,
    token: &Token,
    options: Arc<Options>,
) -> Result<Arc<HoldState>, Error> {
    let (name, mode) = (token.name.clone(), token.mode);
    let series = inner.name_label.series(options.primitive(mode), &name);
    let in_progress = AcquireInProgress::begin(&series, &inner.clock, inner.process());
    let adopted = adopt_by(
        Attempt::new(AcquireParams {
            inner,
            name,
            mode,
            options,
            origin: Origin::default(),
            series,
        }),
        token,
    );
    let adopted = adopted.await;
    in_progress.end(&adopted);
    adopted
}

async fn adopt_by(attempt: Result<Attempt, Error>, token: &Token) -> Result<Arc<HoldState>, Error> {
    let mut attempt = attempt?;
    let limit = match attempt.options.wait_limit {
        WaitLimit::Try | WaitLimit::AtMost(Duration::ZERO) => attempt.handle.try_limit(),
        WaitLimit::AtMost(limit) => limit,
        WaitLimit::Forever => attempt.inner.store_timeout,
    };
    let transferred = attempt.transfer(&token.owner, token.fence, limit).await;
    let (sent, reply) = transferred.map_err(|failure| attempt.store_error(failure))?;
    let Renewed::Renewed { ttl_ms } = reply else {
        attempt.nothing_to_end();
        return Err(Error::Lost(Box::new(Loss {
            name: token.name().to_owned(),
            reason: LostReason::TokenUsed,
            failure: None,
        })));
    };
    let validity = Validity {
        fence: token.fence,
        base: sent,
        ttl: Duration::from_millis(ttl_ms),
    };
    if attempt.is_valid(validity) {
        attempt.into_hold(validity)
    } else {
        Err(attempt.store_error(too_late()))
    }
}

impl Attempt {
    /// Sends a transfer to this request until it is answered, within the limit. Returns when the
    /// answered one was sent.
    async fn transfer(
        &mut self,
        owner: &Arc<str>,
        fence: u64,
        limit: Duration,
    ) -> Result<(Duration, Renewed), Failure> {
        let request = Request::Transfer {
            owner: owner.clone(),
            fence,
            to: self.contender.clone(),
        };
        let needed = self.options.acknowledgement;
        let end = self.clock.now().saturating_add(limit);
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        let mut outage = Outage::default();
        loop {
            let begun = self.clock.now();
            let left = end.saturating_sub(begun);
            let sent = match self.ready(left).await {
                Err(failure) => Err(failure),
                Ok(()) => {
                    let sent = self.send();
                    let (handle, name) = (&self.handle, &self.name);
                    let left = end.saturating_sub(sent);
                    let step = handle.send_acknowledged(name, &request, needed, left).await;
                    let answered = self.answered(step);
                    answered.map(|envelope| (sent, envelope.reply))
                }
            };
            let failure = match sent {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            let (now, pause) = (self.clock.now(), backoff.next(rng::draw()));
            if !failure.is_transient() || end <= now.saturating_add(pause) {
                return Err(failure);
            }
            let is_news = outage.failed(begun, now, &failure);
            self.report_failure(&failure, outage.length(now), is_news);
            tokio::time::sleep(pause).await;
        }
    }
}
