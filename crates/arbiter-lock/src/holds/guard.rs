//! The guard of a hold: released, or dropped, the resource is free.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Backoff, Ended, Mode, Renewed, Request};

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::events::event::{Event, Level};
use crate::holds::hold::{Hold, HoldState, Writer};
use crate::store::Envelope;
use crate::system::rng;

/// Holds a resource until it is released or dropped, or the hold is lost.
///
/// It derefs to [`Hold`], the view that can be handed around. Dropping it only posts the
/// release to the keeper: it never blocks and never panics, in any thread. With the server
/// reachable the resource is free within a second; otherwise its lease ends it.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct Guard {
    hold: Hold,
    grip: Arc<Grip>,
    writer: Option<Writer>,
}

/// What ends a hold when it goes: a plain guard has its own, the guards of a session share one.
pub(crate) struct Grip {
    pub(crate) inner: Arc<Engine>,
    pub(crate) state: Arc<HoldState>,
    /// Whether somebody else sees to its end.
    is_ended: bool,
}

/// For how long a release is sent again while the store does not answer it.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

impl Guard {
    pub(crate) fn new(grip: Arc<Grip>) -> Self {
        Self {
            hold: Hold {
                state: grip.state.clone(),
            },
            grip,
            writer: None,
        }
    }

    /// One of the guards of a session; none where it is to write and others may hold.
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

    /// The view of the hold, to be cloned.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Prolongs the hold by its lease, counted from now.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold is over; [`Error::Unavailable`] or [`Error::Refused`] if the
    /// store did not do it: the hold lasts at least as long as [`Hold::remaining`] says.
    ///
    /// # Cancel safety
    /// Dropped, the store may have prolonged the hold, which is counted only when it is next
    /// renewed. Nothing is left behind.
    pub async fn refresh(&self) -> Result<(), Error> {
        let grip = self.grip.clone();
        self.grip
            .inner
            .run(move || async move { grip.refresh().await })
            .await?
    }

    /// Makes a reader of a writer, without a gap: other readers may come in, and no writer before
    /// this hold ends. The hold and its fence go on; of a session, all who read this name by it go
    /// on reading. It is `Ok` at once where the hold is a shared one already.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold is over. [`Error::Invalid`] if another guard of the session
    /// writes: it counts on being alone, and nothing was sent. [`Error::Refused`] if those who wait to share have
    /// stated a limit: a reader has none, and the hold stays what it was.
    /// [`Error::Unavailable`] if the store did not answer: the guard holds on, as a writer or as
    /// a reader, and [`Hold::is_shared`] is true, since others may have come in. To repeat it is
    /// harmless.
    ///
    /// # Cancel safety
    /// Dropped, it leaves what [`Error::Unavailable`] leaves.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let client = arbiter_lock::Client::in_memory();
    /// let catalogue = client.rw_lock("catalogue");
    /// let writer = catalogue.write().await?;
    /// writer.downgrade().await?;
    /// let reader = catalogue.read().await?;
    /// assert!(writer.is_held() && writer.is_shared() && reader.is_held());
    /// # Ok(()) }
    /// ```
    pub async fn downgrade(&self) -> Result<(), Error> {
        let grip = self.grip.clone();
        // How many of the guards that count on being alone this one is.
        let asking = usize::from(self.writer.is_some());
        self.grip
            .inner
            .run(move || async move { grip.downgrade(asking).await })
            .await?
    }

    /// Releases the resource, and hands it to the next in order. Of the guards of a session
    /// the last one does; the others answer at once.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was over before: the work was not protected to its end.
    /// [`Error::Unavailable`] or [`Error::Refused`] if the store did not confirm it, on whichever
    /// connection, within half a second of repeats: the keeper goes on, and at the latest the lease ends the
    /// hold.
    ///
    /// # Cancel safety
    /// Dropped, the keeper finishes the release, as with a dropped guard; the caller does not
    /// hear whether the work was protected to its end.
    pub async fn release(self) -> Result<(), Error> {
        let inner = self.grip.inner.clone();
        inner.run(|| self.released()).await?
    }

    async fn released(self) -> Result<(), Error> {
        let state = self.grip.state.clone();
        // Asked before it lets go: from then on another guard may be the last, and release.
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
        let sent = self.inner.clock.now();
        let (handle, request) = (self.inner.handle(), Request::Renew(state.renewal()));
        let renewed = handle.send(&state.name, &request, Duration::MAX).await;
        match renewed.map_err(|failure| self.store_error(failure))?.reply {
            Renewed::Renewed { life_ms } => {
                state.confirm(sent, Duration::from_millis(life_ms));
                state.over().map_or(Ok(()), lost)
            }
            other => lost(self.inner.keeper.lose(state, LostReason::of(other))),
        }
    }

    pub(crate) fn store_error(&self, failure: crate::store::Failure) -> Error {
        Error::of_store(
            self.state.name.as_str(),
            &self.inner.store.to_string(),
            failure,
        )
    }

    /// Ends the belief; answers why it was over before, if it was.
    fn let_go(&self) -> Option<LostReason> {
        let reason = self.state.give_up(LostReason::Released);
        self.inner.keeper.forget(&self.state);
        Some(reason).filter(|reason| *reason != LostReason::Released)
    }

    /// Sends the end until it is answered, for [`RELEASE_LIMIT`]. Whatever happens on the way, the
    /// drop of `self` has the keeper go on.
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
                        return Err(self.store_error(failure));
                    }
                    tokio::time::sleep(pause).await;
                    limit = last_sending.saturating_sub(self.inner.clock.now());
                }
            }
        };
        self.is_ended = !again;
        let fence = self.state.fence;
        if reply == Ended::Released || may_have_ended {
            // An end that was sent before has done it, and its answer was lost.
            self.inner.events.emit(Level::Debug, || Event::Released {
                name: name.into(),
                fence,
            });
            return Ok(());
        }
        let loss = self.state.loss(LostReason::Deleted);
        self.inner.events.emit(Level::Error, || Event::Lost {
            name: name.into(),
            fence,
            reason: loss.reason,
            cause: None,
        });
        Err(Error::Lost(Box::new(loss)))
    }
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
