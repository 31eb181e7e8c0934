//! From a request to a hold: acquire, poll, receive a grant.
//!
//! The store is polled only by the acquiring future, so a future that is not polled does not wait.
//! A request that is given up is ended by the keeper.

mod acknowledged;
mod age;
mod attempt;
mod claim;
mod failures;
mod pause;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;
mod try_once;

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{
    Acquired, Backoff, HolderView, Mode, Moment, Name, POLL_INTERVAL_MS, Request,
};

use acknowledged::acquire_acknowledged;
use age::GrantAge;
use attempt::{AcquireParams, Attempt};
pub(crate) use attempt::{News, Origin};
pub(crate) use failures::too_short;
use failures::{NotAcquired, ended, is_unacknowledged, too_late};
use pause::until_next_poll;
use try_once::try_once;

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::events::event::{Event, Level};
use crate::events::measurement::Measurement;
use crate::events::metrics::AcquireInProgress;
use crate::events::outage::Outage;
use crate::holds::hold::{HoldState, Validity};
use crate::primitives::options::{Options, WaitLimit};
use crate::sessions::wait_graph::{CircleStep, Wait, WaitingSession};
use crate::status::Holder;
use crate::store::{Acknowledgement, Envelope, Failure, FailureKind, PushedGrant, Woken};
use crate::system::rng;

/// How long connecting may delay one poll. Dialing continues in the background.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// A store that had less time than this to answer does not count as silent.
const SHORTEST_SILENCE: Duration = Duration::from_millis(100);

/// How many grants in a row may be too old. More mean that the round trip exceeds the lease.
const MOST_TOO_OLD: u32 = 16;

/// How long a request waits for a hold of its own client before that is reported.
const OWN_CLIENT: Duration = Duration::from_secs(30);

/// How long a cycle of waits has to last before it is an error: from one poll to the next.
const CONFIRMED_AFTER: Duration = Duration::from_millis(900);

/// Acquires within the wait limit of the options.
pub(crate) async fn acquire(
    inner: Arc<Engine>,
    name: Name,
    mode: Mode,
    options: Arc<Options>,
    origin: Origin,
) -> Result<Arc<HoldState>, Error> {
    let series = inner.name_label.series(options.primitive(mode), &name);
    let in_progress = AcquireInProgress::begin(&series, &inner.clock, inner.process());
    let params = AcquireParams {
        inner,
        name,
        mode,
        options,
        origin,
        series,
    };
    let acquired = if params.options.acknowledgement.is_needed() {
        Box::pin(acquire_acknowledged(params)).await
    } else {
        let acquired = acquire_by(Attempt::new(params)).await;
        acquired.map_err(NotAcquired::into_error)
    };
    in_progress.end(&acquired);
    acquired
}

async fn acquire_by(attempt: Result<Attempt, Error>) -> Result<Arc<HoldState>, NotAcquired> {
    let attempt = attempt?;
    match attempt.options.wait_limit {
        WaitLimit::Try | WaitLimit::AtMost(Duration::ZERO) => try_once(attempt).await,
        WaitLimit::AtMost(limit) => Waiting::new(attempt, Some(limit)).wait().await,
        WaitLimit::Forever => Waiting::new(attempt, None).wait().await,
    }
}

/// An acquire that may have to wait.
struct Waiting {
    attempt: Attempt,
    /// When the wait is over, on the local clock.
    end: Option<Duration>,
    ticket: Option<u64>,
    age: GrantAge,
    /// The holder and the place in the queue, as last polled.
    seen: Option<(Option<Holder>, u64)>,
    outage: Outage,
    backoff: Backoff,
    /// The owner of the client's own hold that it waits for, and since when.
    behind_own: Option<(Arc<str>, Duration)>,
    /// Whether that has been reported.
    is_reported: bool,
    /// Its entry in the graph of waiting sessions.
    waiter: Option<WaitingSession>,
    /// The cycle of sessions that it waits in, and since when it is known.
    circle: Option<(Vec<CircleStep>, Duration)>,
}

/// The next step of a wait.
enum Next {
    /// The request was granted, if the grant is young enough.
    Granted(Validity),
    /// The same, and the replicas have acknowledged it.
    Acknowledged(Validity),
    /// The request was granted, and too few replicas have acknowledged it.
    Unacknowledged(Failure),
    /// Poll after that time, unless a message arrives first.
    Poll(Duration),
    /// The wait is over.
    Over,
}

impl Waiting {
    fn new(attempt: Attempt, limit: Option<Duration>) -> Self {
        let begun = attempt.begun;
        let longest = Duration::from_millis(POLL_INTERVAL_MS);
        Self {
            end: limit.and_then(|limit| begun.checked_add(limit)),
            age: GrantAge::new(attempt.created),
            attempt,
            ticket: None,
            seen: None,
            outage: Outage::default(),
            backoff: Backoff::new(Duration::from_millis(10), longest),
            behind_own: None,
            is_reported: false,
            waiter: None,
            circle: None,
        }
    }

    async fn wait(mut self) -> Result<Arc<HoldState>, NotAcquired> {
        let mut next = self.poll().await?;
        let mut too_old = 0;
        loop {
            next = match next {
                Next::Acknowledged(validity) if self.attempt.is_valid(validity) => {
                    return Ok(self.attempt.into_hold(validity)?);
                }
                Next::Granted(validity) | Next::Acknowledged(validity) => {
                    match self.claim(validity).await {
                        Ok(Some(validity)) => return Ok(self.attempt.into_hold(validity)?),
                        Err(failure) => Next::Unacknowledged(failure),
                        // Too old: a poll finds the grant again, or queues again.
                        Ok(None) => {
                            too_old += 1;
                            if MOST_TOO_OLD < too_old {
                                return Err(self.attempt.store_error(too_late()).into());
                            }
                            self.listen(Duration::ZERO).await?
                        }
                    }
                }
                Next::Unacknowledged(failure) => return Err(self.attempt.unacknowledged(failure)),
                Next::Poll(pause) => self.listen(pause).await?,
                Next::Over => return Err(self.over().into()),
            };
        }
    }

    /// Waits for a grant, or until the next poll is due, and polls.
    async fn listen(&mut self, pause: Duration) -> Result<Next, Error> {
        let left = self.left(self.attempt.clock.now());
        let left = left.unwrap_or(Duration::MAX);
        if left.is_zero() {
            return Ok(Next::Over);
        }
        if !pause.is_zero() {
            let woken = tokio::select! {
                biased;
                woken = self.attempt.slot.woken() => Some(woken),
                () = self.attempt.inner.closing() => return Err(Error::Closed),
                () = tokio::time::sleep(pause.min(left)) => None,
            };
            if let Some(Woken::Granted(arrived)) = woken {
                return Ok(self.pushed(&arrived));
            }
            if left <= pause && woken.is_none() {
                return Ok(Next::Over);
            }
        }
        self.poll().await
    }

    /// Sends one acquire and waits for the reply, or for a pushed grant.
    async fn poll(&mut self) -> Result<Next, Error> {
        let begun = self.attempt.clock.now();
        let left = self.left(begun);
        let limit = left.map_or(READY_LIMIT, |left| left.min(READY_LIMIT));
        if let Err(failure) = self.attempt.ready(limit).await {
            return self.unserved(begun, left, failure);
        }
        let sent = self.attempt.send();
        let wakes = self.attempt.slot.wakes();
        let left = self.left(sent);
        let Attempt {
            handle,
            name,
            contender,
            slot,
            ..
        } = &self.attempt;
        let request = Request::Acquire {
            contender: contender.clone(),
            ticket: self.ticket,
        };
        let limit = left.unwrap_or(Duration::MAX);
        // Only the first one is likely to be granted at once.
        let needed = match self.ticket {
            None => self.attempt.options.acknowledgement,
            Some(_) => Acknowledgement::NONE,
        };
        let acquire = handle.send_acknowledged(name, &request, needed, limit);
        let step = tokio::select! {
            biased;
            step = acquire => step,
            arrived = slot.granted() => {
                return Ok(self.pushed(&arrived));
            }
            () = tokio::time::sleep(limit), if left.is_some() => return Ok(Next::Over),
        };
        match self.attempt.answered(step) {
            Ok(envelope) => match self.answered(sent, wakes, envelope)? {
                Next::Granted(validity) if needed.is_needed() => Ok(Next::Acknowledged(validity)),
                next => Ok(next),
            },
            Err(failure) if is_unacknowledged(&failure) => Ok(Next::Unacknowledged(failure)),
            Err(failure) => match self.unserved(sent, left, failure)? {
                // The poll consumed a wake: another server may serve by now.
                Next::Poll(_) if self.attempt.slot.wakes() != wakes => {
                    Ok(Next::Poll(Duration::ZERO))
                }
                next => Ok(next),
            },
        }
    }

    /// Returns the grant that a hand-off delivered as a message.
    fn pushed(&self, arrived: &PushedGrant) -> Next {
        self.attempt.series.record(Measurement::HandedOff);
        Next::Granted(self.age.of_push(arrived, self.attempt.clock.now()))
    }

    /// Returns the time left to wait at `now`, if there is a wait limit.
    fn left(&self, now: Duration) -> Option<Duration> {
        self.end.map(|end| end.saturating_sub(now))
    }

    /// Handles the failure of a request that was sent at `sent`, with `left` of the wait. Returns
    /// an error if it is not transient, or has lasted too long.
    fn unserved(
        &mut self,
        sent: Duration,
        left: Option<Duration>,
        failure: Failure,
    ) -> Result<Next, Error> {
        let shortest = SHORTEST_SILENCE.max(2 * self.attempt.handle.round_trip());
        if failure.kind == FailureKind::Silent && left.is_some_and(|left| left < shortest) {
            return Ok(Next::Over); // the end of the wait cut it short
        }
        if !failure.is_transient() {
            return Err(self.attempt.store_error(failure));
        }
        let now = self.attempt.clock.now();
        let is_news = self.outage.failed(sent, now, &failure);
        let (length, failure) = (self.outage.length(now), self.outage.failure().cloned());
        if let Some(failure) = failure {
            if self.end.is_none() && self.attempt.inner.store_timeout <= length {
                return Err(self.attempt.store_error(failure));
            }
            self.attempt.report_failure(&failure, length, is_news);
        }
        Ok(Next::Poll(self.backoff.next(rng::draw())))
    }

    /// Handles the reply to a poll that was sent at `sent`, after that many wakes.
    fn answered(
        &mut self,
        sent: Duration,
        wakes: u64,
        envelope: Envelope<Acquired>,
    ) -> Result<Next, Error> {
        let was_silent = self.outage.answered();
        self.backoff.reset();
        match envelope.reply {
            Acquired::Granted { fence, ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                Ok(Next::Granted(Validity {
                    fence,
                    base: sent,
                    ttl,
                }))
            }
            Acquired::Queued {
                ticket,
                place,
                holder,
                awaited_expiry_ms,
            } => {
                self.ticket = Some(ticket);
                let now = self.attempt.clock.now();
                self.age.record(sent, envelope.at, envelope.source, now);
                let provisional_ttl = self.attempt.options.provisional_ttl();
                let (behind, expiry) = (holder.as_ref(), awaited_expiry_ms);
                let pause = until_next_poll(provisional_ttl, place, behind, expiry, rng::draw());
                let owner = holder.as_ref().map(|view| view.owner.clone());
                self.stands_behind(holder, place, envelope.at, was_silent);
                self.report_own(owner.as_ref());
                self.find_circle(owner, ticket)?;
                // The poll consumed a wake that may be later than the reply.
                let is_woken = self.attempt.slot.wakes() != wakes;
                Ok(Next::Poll(if envelope.again || is_woken {
                    Duration::ZERO
                } else {
                    pause
                }))
            }
            Acquired::Refused(refusal) => Err(self.attempt.refused(refusal)),
            Acquired::Ended => Err(self.attempt.store_error(ended())),
        }
    }

    /// Records the holder and the place. Reports them if they have changed, or after an outage.
    fn stands_behind(
        &mut self,
        holder: Option<HolderView>,
        place: u64,
        at: Moment,
        was_silent: bool,
    ) {
        let owner = holder.as_ref().map(|view| view.owner.clone());
        let known = self
            .seen
            .as_ref()
            .map(|(holder, place)| (holder.as_ref().map(|holder| holder.owner.as_str()), *place));
        let is_news = was_silent || known != Some((owner.as_deref(), place));
        self.seen = Some((holder.map(|view| Holder::new(&view, at)), place));
        if is_news {
            let holder = self.seen.as_ref().and_then(|(holder, _)| holder.clone());
            self.attempt.report_waiting(holder, place);
        }
    }

    /// Reports once that the request has waited for a hold of its own client for long.
    fn report_own(&mut self, owner: Option<&Arc<str>>) {
        if self.is_reported {
            return;
        }
        let holder = self.seen.as_ref().and_then(|(holder, _)| holder.as_ref());
        let is_own = holder.is_some_and(|holder| self.attempt.is_behind_own(holder));
        let now = self.attempt.clock.now();
        self.behind_own = match (owner.filter(|_| is_own), self.behind_own.take()) {
            (Some(owner), Some((known, since))) if *owner == known => Some((known, since)),
            (Some(owner), _) => Some((owner.clone(), now)),
            (None, _) => None,
        };
        let since = self.behind_own.as_ref().map_or(now, |(_, since)| *since);
        if OWN_CLIENT <= now.saturating_sub(since) {
            self.is_reported = true;
            let event = || Event::WaitsForOwnClient {
                name: (&self.attempt.name).into(),
            };
            self.attempt.inner.events.emit(Level::Warn, event);
        }
    }

    /// Returns an error if the request is the last in a cycle of waiting sessions.
    ///
    /// The cycle must have lasted from one poll to the next: a task that was about to release has
    /// done so by then.
    fn find_circle(&mut self, owner: Option<Arc<str>>, ticket: u64) -> Result<(), Error> {
        if self.waiter.is_none() {
            let session = self.attempt.origin.session;
            self.waiter = session.map(|session| self.attempt.inner.waits.enter(session));
        }
        let Some(waiter) = &self.waiter else {
            return Ok(());
        };
        let Some(owner) = owner else {
            waiter.clear();
            return Ok(());
        };
        let now = self.attempt.clock.now();
        waiter.confirm(Wait {
            name: self.attempt.name.clone(),
            mode: self.attempt.contender.mode,
            ticket,
            owner,
            confirmed: now,
        });
        let circle = waiter.circle(&self.attempt.inner.keeper, now);
        self.circle = match (circle, self.circle.take()) {
            (Some(circle), Some((known, since))) if circle == known => Some((known, since)),
            (circle, _) => circle.map(|circle| (circle, now)),
        };
        match &self.circle {
            Some((circle, since)) if CONFIRMED_AFTER <= now.saturating_sub(*since) => {
                let names = circle.iter().map(|step| step.name.as_str().to_owned());
                Err(Error::deadlock(names.collect()))
            }
            _ => Ok(()),
        }
    }

    /// Returns the error of a wait that is over.
    fn over(self) -> Error {
        match (self.outage.failure(), self.seen) {
            (Some(failure), _) => self.attempt.store_error(failure.clone()),
            (None, Some((holder, place))) => self.attempt.contended(holder, Some(place)),
            (None, None) => self.attempt.store_error(too_short()),
        }
    }
}
