//! The guard of one hold, which releases it.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Ended, Limit, Mode, Renewed, Request};

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::invalid::Invalid;
use crate::errors::lost_reason::LostReason;
use crate::holds::hold::{Exclusivity, Hold, HoldState, Writer};
use crate::holds::lock_span::LockSpan;
use crate::holds::token::Token;
use crate::store::Envelope;
use crate::system::rng;
use crate::waiting::transfer::Detaching;

/// Holds a resource until it is released or dropped, or the hold is lost.
///
/// It derefs to [`Hold`], a view that can be cloned and passed around.
///
/// Dropping a guard releases in the background. The drop never blocks and never panics, on any
/// thread. If the store is reachable, the resource is free within a second. Otherwise its lease
/// ends the hold. To learn whether the hold lasted until the end, use [`Guard::release`].
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct Guard {
    hold: Hold,
    grip: Arc<Grip>,
    writer: Option<Writer>,
    /// Last, so that the release is posted before a subscriber is called.
    span: LockSpan,
}

/// Releases a hold when it is dropped. The guards of a session share one.
pub(crate) struct Grip {
    pub(crate) inner: Arc<Engine>,
    pub(crate) state: Arc<HoldState>,
    /// Whether the store has confirmed the end, with nothing left to hand off.
    is_ended: bool,
}

/// How long a release is sent again while the store does not answer.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

impl Guard {
    pub(crate) fn new(grip: Arc<Grip>) -> Self {
        Self {
            hold: Hold {
                state: grip.state.clone(),
            },
            grip,
            writer: None,
            span: LockSpan::default(),
        }
    }

    /// Makes a guard of a session. Returns `None` for a writer if the hold may be shared.
    pub(crate) fn of_session(grip: Arc<Grip>, mode: Mode) -> Option<Self> {
        let writer = match mode {
            Mode::Exclusive => Some(grip.state.join_as_writer()?),
            Mode::Shared { .. } => None,
        };
        Some(Self {
            writer,
            ..Self::new(grip)
        })
    }

    /// Adds the span that ends with this guard.
    pub(super) fn with_span(self, span: LockSpan) -> Self {
        Self { span, ..self }
    }

    /// Takes the span, to end it on the thread of the caller.
    pub(crate) fn take_span(&mut self) -> LockSpan {
        std::mem::take(&mut self.span)
    }

    /// Returns the view of the hold, which can be cloned.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Renews the hold: it lasts for a whole lease from now.
    ///
    /// With the watchdog this is not needed.
    ///
    /// # Errors
    /// - [`Error::Lost`] if the hold is over.
    /// - [`Error::Unavailable`] or [`Error::Refused`] if the store did not renew it. The hold still
    ///   lasts for at least [`Hold::remaining`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the store may have renewed the hold. The client counts that only
    /// after the next renewal. Nothing is left behind.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// # let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report").watchdog(false).lease_time(Duration::from_secs(10));
    /// let guard = lock.acquire().await?;
    /// guard.refresh().await?; // ten more seconds from here
    /// # Ok(()) }
    /// ```
    pub async fn refresh(&self) -> Result<(), Error> {
        let grip = self.grip.clone();
        self.grip
            .inner
            .run(move || async move { grip.refresh().await })
            .await?
    }

    /// Downgrades a writer to a reader, atomically.
    ///
    /// Other readers are granted from then on, and no writer is granted before this hold ends. The
    /// hold keeps its fence. Other guards of the same session that read this name keep reading. If
    /// the hold is shared already, this returns `Ok` at once.
    ///
    /// # Errors
    /// - [`Error::Lost`] if the hold is over.
    /// - [`Error::Invalid`] if another guard of the session writes. Nothing was sent.
    /// - [`Error::Refused`] if requests for permits wait, since a reader has no limit. The hold is
    ///   unchanged.
    /// - [`Error::Unavailable`] if the store did not answer. The guard still holds, as a writer or
    ///   as a reader, and [`Hold::is_shared`] is true, since readers may have been granted. It can
    ///   be repeated.
    ///
    /// # Cancel safety
    /// If the future is dropped, the hold is as after [`Error::Unavailable`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let catalog = client.rw_lock("catalog");
    /// let writer = catalog.write().await?;
    /// writer.downgrade().await?;
    /// let reader = catalog.read().await?;
    /// assert!(writer.is_held() && writer.is_shared() && reader.is_held());
    /// # Ok(()) }
    /// ```
    pub async fn downgrade(&self) -> Result<(), Error> {
        let grip = self.grip.clone();
        let asking = usize::from(self.writer.is_some());
        self.grip
            .inner
            .run(move || async move { grip.downgrade(asking).await })
            .await?
    }

    /// Releases the resource, and grants the next waiter.
    ///
    /// In a session, the last guard releases; the others return at once.
    ///
    /// # Errors
    /// - [`Error::Lost`] if the hold was over before: the work was not protected until its end.
    /// - [`Error::Unavailable`] or [`Error::Refused`] if the store did not confirm the release
    ///   within 500 ms of retries. The release continues in the background. If it never succeeds,
    ///   the hold ends with its lease.
    ///
    /// # Cancel safety
    /// If the future is dropped, the release continues in the background, as with a dropped guard.
    /// The caller does not learn whether the hold lasted until the end.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").acquire().await?;
    /// match guard.release().await {
    ///     Ok(()) => println!("held until here"),
    ///     Err(error) if error.is_lost() => println!("undo the work: {error}"),
    ///     Err(error) => println!("released in the background: {error}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn release(mut self) -> Result<(), Error> {
        let (inner, span) = (self.grip.inner.clone(), self.take_span());
        let released = inner.run(|| self.released()).await.and_then(|done| done);
        span.end(&released);
        released
    }

    /// Detaches the hold from this process for one lease, and returns its token.
    ///
    /// From then on this client neither renews nor releases the hold. It lasts for one lease from
    /// now, also beyond the end of this process, and on the embedded store too. It ends earlier if
    /// an operator breaks it, or if the process that [adopts](crate::Client::adopt) it releases it.
    /// Its fence stays the same, so that a resource cannot distinguish late writes of this process
    /// from those of the adopter: stop writing first.
    ///
    /// [`Guard::into_token_for`] sets how long it lasts.
    ///
    /// # Errors
    /// In each case the guard is consumed, and the hold is released in the background.
    /// - [`Error::Lost`] if the hold was over before.
    /// - [`Error::Unavailable`] or [`Error::Refused`] if the store did not confirm it within the
    ///   rest of the hold, and within the store's timeout.
    /// - [`Error::Invalid`] if other guards of the session hold the same name, or if a downgrade has
    ///   no known outcome. Other guards continue to hold.
    /// - [`Error::Closed`] if the client was shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped, the hold is released in the background.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use arbiter_lock::Client;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = Client::in_memory();
    /// let guard = client.lock("deploy").acquire().await?;
    /// let token = guard.into_token_for(Duration::from_secs(600)).await?;
    ///
    /// // In another process, with `token.to_string()`, or later in this one:
    /// let guard = client.adopt(&token).await?;
    /// assert_eq!(guard.fence(), token.fence());
    /// assert!(client.adopt(&token).await.is_err_and(|e| e.is_lost()), "it is good for once");
    /// # Ok(()) }
    /// ```
    pub async fn into_token(self) -> Result<Token, Error> {
        let lease = self.grip.state.options.lease;
        self.into_token_for(lease).await
    }

    /// Detaches the hold for that long instead of one lease: see [`Guard::into_token`].
    ///
    /// The time is from 100 ms to 365 days.
    ///
    /// # Errors
    /// As [`Guard::into_token`], and [`Error::Invalid`] for another time.
    ///
    /// # Cancel safety
    /// As [`Guard::into_token`].
    pub async fn into_token_for(mut self, time: Duration) -> Result<Token, Error> {
        let (inner, span) = (self.grip.inner.clone(), self.take_span());
        let detached = inner.run(|| self.detached(time)).await;
        let detached = detached.and_then(|done| done);
        span.end(&detached);
        detached
    }

    async fn detached(self, time: Duration) -> Result<Token, Error> {
        drop(self.writer);
        match Arc::into_inner(self.grip) {
            Some(grip) => grip.detach(time).await,
            None => Err(not_alone()),
        }
    }

    async fn released(self) -> Result<(), Error> {
        let state = self.grip.state.clone();
        // Checked first: once this guard has let go, the last guard may release.
        let over = state.over();
        match (Arc::into_inner(self.grip), over) {
            (Some(grip), _) => grip.release().await,
            (None, Some(reason)) => Err(state.lost(reason)),
            (None, None) => Ok(()),
        }
    }
}

impl Deref for Guard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.hold
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.hold).finish()
    }
}

impl Grip {
    pub(crate) fn new(inner: Arc<Engine>, state: Arc<HoldState>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            state,
            is_ended: false,
        })
    }

    async fn refresh(&self) -> Result<(), Error> {
        let state = &self.state;
        let lost = |reason| Err(state.lost(reason));
        if let Some(reason) = state.over() {
            return lost(reason);
        }
        let handle = self.inner.handle();
        loop {
            let (sent, renewal) = (self.inner.clock.now(), state.renewal());
            let request = Request::Renew(renewal.clone());
            let needed = state.options.acknowledgement;
            let renewed = handle.send_acknowledged(&state.name, &request, needed, Duration::MAX);
            let renewed = renewed.await;
            let renewed =
                renewed.map_err(|failure| self.inner.store_error(&state.name, failure))?;
            match renewed.reply {
                Renewed::Renewed { ttl_ms } => {
                    state.confirm(sent, Duration::from_millis(ttl_ms));
                    self.inner.keeper.confirmed(state);
                    return state.over().map_or(Ok(()), lost);
                }
                other if state.is_refused(&renewal) => {
                    return lost(self.inner.keeper.lose(state, LostReason::of(other)));
                }
                _ => {}
            }
        }
    }

    /// Ends the hold locally. Returns why it was over before, if it was.
    fn let_go(&self) -> Option<LostReason> {
        let reason = self.state.give_up(LostReason::Released);
        self.inner.keeper.forget(&self.state);
        Some(reason).filter(|reason| *reason != LostReason::Released)
    }

    /// Gives the hold to a detached request. If that fails, the drop of `self` posts a pending
    /// release.
    async fn detach(mut self, time: Duration) -> Result<Token, Error> {
        let state = self.state.clone();
        let mode = match (state.exclusivity(), state.contender.mode) {
            (Exclusivity::Unknown, _) => return Err(not_alone()),
            (Exclusivity::Shared, Mode::Exclusive) => Mode::Shared {
                weight: NonZeroU32::MIN,
                limit: Limit::Unlimited,
            },
            (_, mode) => mode,
        };
        let detaching = Detaching::new(self.inner.clone(), &state, mode, time)?;
        let limit = state.remaining().min(self.inner.store_timeout);
        if let Some(reason) = self.let_go() {
            return Err(state.lost(reason));
        }
        let (report, held) = (state.report(), state.held());
        match detaching.transfer(&state, limit).await? {
            Ok(token) => {
                self.is_ended = true;
                let to = token.owner.clone();
                self.inner.events.detached(report, held, to);
                Ok(token)
            }
            Err(reason) => {
                self.is_ended = reason != LostReason::Revoked;
                let loss = state.loss(reason);
                self.inner.events.lost(report, held, &loss);
                Err(Error::Lost(Box::new(loss)))
            }
        }
    }

    /// Sends the end until it is answered, for [`RELEASE_LIMIT`]. If that fails, the drop of `self`
    /// posts a pending release.
    async fn release(mut self) -> Result<(), Error> {
        if let Some(reason) = self.let_go() {
            return Err(self.state.lost(reason));
        }
        let handle = self.inner.handle();
        let (name, request) = (&self.state.name, self.state.pending_release(true).request());
        let last_sending = self.inner.clock.now().saturating_add(RELEASE_LIMIT);
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
        let mut may_have_ended = false;
        let mut limit = Duration::MAX;
        let Envelope::<Ended> { reply, again, .. } = loop {
            match handle.send(name, &request, limit).await {
                Ok(envelope) => break envelope,
                Err(failure) => {
                    may_have_ended |= failure.may_have_run;
                    let pause = backoff.next(rng::draw());
                    let now = self.inner.clock.now();
                    if !failure.is_transient() || last_sending <= now.saturating_add(pause) {
                        return Err(self.inner.store_error(name, failure));
                    }
                    tokio::time::sleep(pause).await;
                    limit = last_sending.saturating_sub(self.inner.clock.now());
                }
            }
        };
        self.is_ended = !again;
        let (report, held) = (self.state.report(), self.state.held());
        if reply == Ended::Released || may_have_ended {
            // If it had ended already, the answer to an earlier sending was lost.
            self.inner.events.released(report, held);
            return Ok(());
        }
        let taken = matches!(reply, Ended::NotYours { taken: true });
        let reason = LostReason::of(Renewed::NotYours { taken });
        let loss = self.state.loss(reason);
        self.inner.events.lost(report, held, &loss);
        Err(Error::Lost(Box::new(loss)))
    }
}

fn not_alone() -> Error {
    let message = "only a hold with one guard and a known mode can be detached; drop the other \
                   guards of the session, and repeat a downgrade that failed";
    Invalid::new("into_token", message).into()
}

impl Drop for Grip {
    fn drop(&mut self) {
        if !self.is_ended && self.inner.check_process().is_ok() {
            let lost = self.let_go();
            let pending = self.state.pending_release(lost.is_none());
            self.inner.keeper.post(pending);
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::eventually;

    use super::*;
    use crate::{Client, block_on};

    #[test]
    fn session_guard_checks_the_hold_before_releasing() {
        let session = Client::in_memory().session();
        let lock = session.lock("l");
        let [one, other] = [(); 2].map(|()| block_on(lock.acquire()).unwrap());
        let state = other.grip.state.clone();
        let local_state = state.hold_up();
        let releasing = std::thread::spawn(|| block_on(one.release()));
        let has_let_go = || Arc::strong_count(&other.grip) == 1;
        assert!(!eventually(Duration::from_millis(300), has_let_go));
        drop(local_state);
        releasing.join().unwrap().unwrap();
        assert!(has_let_go());
        block_on(other.release()).unwrap();
    }
}
