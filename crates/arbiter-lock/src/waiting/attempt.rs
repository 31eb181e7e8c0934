//! One request to acquire. It is ended even if its future is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arbiter_lock_core::{Contender, Mode, Name, Refusal, is_detached};

use crate::engine::Engine;
use crate::errors::error::{Contended, Error, HeldBy};
use crate::errors::lost_reason::LostReason;
use crate::events::event::{Event, Level};
use crate::events::metrics::Series;
use crate::holds::hold::{Granted, HoldState, Validity};
use crate::primitives::options::Options;
use crate::sessions::session_id::SessionId;
use crate::status::Holder;
use crate::store::PendingRelease;
use crate::store::{Envelope, Failure, Slot, StoreHandle};
use crate::system::clock::Clock;
use crate::system::rng;

/// The latest reason why a request waits, for the futures that share it.
#[derive(Clone, Default)]
pub(crate) struct News(Arc<Mutex<Option<Error>>>);

impl News {
    fn put(&self, why: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub(crate) fn latest(&self) -> Option<Error> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The session of a request, and the receiver of the news of its wait.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    pub(crate) session: Option<SessionId>,
    /// The owner of a hold that the session has lost, as long as guards of it exist.
    pub(crate) lost: Option<Arc<str>>,
    pub(crate) news: News,
}

/// The parameters of an acquire.
#[derive(Clone)]
pub(super) struct AcquireParams {
    pub(super) inner: Arc<Engine>,
    pub(super) name: Name,
    pub(super) mode: Mode,
    pub(super) options: Arc<Options>,
    pub(super) origin: Origin,
    pub(super) series: Series,
}

/// A request, from before its first sending until it holds or is ended.
///
/// If it is dropped before it holds, its end is posted to the keeper.
pub(super) struct Attempt {
    pub(super) inner: Arc<Engine>,
    pub(super) handle: Arc<StoreHandle>,
    pub(super) name: Name,
    pub(super) contender: Arc<Contender>,
    pub(super) options: Arc<Options>,
    pub(super) slot: Arc<Slot>,
    pub(super) clock: Clock,
    /// When the wait began, which may be longer ago than the request.
    pub(super) begun: Duration,
    pub(super) created: Duration,
    pub(super) origin: Origin,
    pub(super) series: Series,
    /// Unanswered sendings that the store may have executed, or may execute later.
    unanswered: usize,
    /// Whether an answer shows that the store knows the request.
    is_known: bool,
}

impl Attempt {
    /// Draws the request id and registers the waiter, before anything is sent.
    pub(super) fn new(params: AcquireParams) -> Result<Self, Error> {
        Self::with_id(params, rng::draw_id())
    }

    /// Creates an attempt with an id that was drawn.
    pub(super) fn with_id(params: AcquireParams, id: Arc<str>) -> Result<Self, Error> {
        let AcquireParams {
            inner,
            name,
            mode,
            options,
            origin,
            series,
        } = params;
        options.check()?;
        inner.check_open()?;
        inner.keeper.ready(&name)?;
        let needed = options.acknowledgement;
        if needed.is_needed() {
            inner.store.check_acknowledgement(needed)?;
        }
        let handle = inner.handle();
        let channel = match is_detached(&id) {
            true => "-".into(),
            false => handle.channel(&name),
        };
        let contender = Arc::new(Contender {
            id: id.clone(),
            mode,
            lease_ms: options.lease_ms(),
            channel: channel.clone(),
            label: inner.label_line(&options)?,
        });
        let now = inner.clock.now();
        Ok(Self {
            slot: handle.registry().register(id, channel),
            handle,
            name,
            contender,
            options,
            clock: inner.clock.clone(),
            begun: now,
            created: now,
            inner,
            origin,
            series,
            unanswered: 0,
            is_known: false,
        })
    }

    /// Counts the wait from that time.
    pub(super) fn begun_at(mut self, begun: Duration) -> Self {
        self.begun = begun;
        self
    }

    /// Makes sure, within the limit, that the store can serve.
    pub(super) async fn ready(&self, limit: Duration) -> Result<(), Failure> {
        if self.inner.is_ready(&self.handle, &self.name) {
            return Ok(());
        }
        // Boxed, since it is large and needed once.
        Box::pin(self.inner.ready(&self.handle, Some(&self.name), limit)).await
    }

    /// Notes that an acquire is sent. Returns the time.
    pub(super) fn send(&mut self) -> Duration {
        self.unanswered += 1;
        self.clock.now()
    }

    /// Notes the outcome of a sending.
    pub(super) fn answered<T>(
        &mut self,
        step: Result<Envelope<T>, Failure>,
    ) -> Result<Envelope<T>, Failure> {
        match &step {
            Ok(_) => {
                self.unanswered -= 1;
                self.is_known = true;
            }
            Err(failure) if !failure.may_have_run => self.unanswered -= 1,
            Err(_) => {}
        }
        step
    }

    /// Notes that the store does not know the request: it was only tried, and the answer was
    /// *busy*.
    pub(super) fn nothing_to_end(&mut self) {
        self.is_known = false;
    }

    /// Notes that its hold stays in the store when it is dropped.
    pub(super) fn leave_hold(&mut self) {
        (self.is_known, self.unanswered) = (false, 0);
    }

    /// Returns whether the grant is young enough. For a grant that has to be claimed first, the
    /// margin is not counted.
    pub(super) fn is_valid(&self, grant: Validity) -> bool {
        let ttl = grant.ttl.min(self.options.lease);
        let margin = if self.has_to_claim(grant) {
            Duration::ZERO
        } else {
            self.options.margin(ttl)
        };
        let end = grant.base.saturating_add(ttl).saturating_sub(margin);
        self.clock.now() < end
    }

    /// Returns whether the provisional TTL of the grant is too short to work in.
    pub(super) fn has_to_claim(&self, grant: Validity) -> bool {
        let is_needed = self.options.acknowledgement.is_needed();
        grant.ttl < self.options.lease && (is_needed || self.options.claims_first())
    }

    /// Makes the hold of a granted request.
    pub(super) fn into_hold(mut self, validity: Validity) -> Result<Arc<HoldState>, Error> {
        let granted = Granted {
            name: self.name.clone(),
            contender: self.contender.clone(),
            session: self.origin.session,
            tombstone: 0 < self.unanswered,
            series: self.series.clone(),
        };
        let hold = Arc::new(HoldState::new(
            granted,
            validity,
            self.options.clone(),
            self.clock.clone(),
            self.inner.process(),
        ));
        self.inner.keeper.watch(hold.clone())?;
        // Checked once the keeper has the hold: a shutdown loses the hold, or is detected here.
        if let Err(closed) = self.inner.check_open() {
            // The caller never had the hold, so no loss is reported.
            self.inner.keeper.withdraw(&hold);
            hold.give_up(LostReason::Shutdown);
            return Err(closed);
        }
        (self.is_known, self.unanswered) = (false, 0);
        self.inner.events.acquired(hold.report(), self.waited());
        Ok(hold)
    }

    pub(super) fn waited(&self) -> Duration {
        self.clock.now().saturating_sub(self.begun)
    }

    /// Returns whose hold that is. If several share, one of this client or session is enough.
    fn held_by(&self, holder: &Holder) -> HeldBy {
        let (keeper, owner) = (&self.inner.keeper, &*holder.owner);
        let own = if holder.is_shared() {
            keeper.sharers(&self.name)
        } else {
            Vec::from_iter(keeper.find(owner))
        };
        let session = self.origin.session;
        let is_of_session = |hold: &Arc<HoldState>| session.is_some() && hold.session == session;
        if own.iter().any(is_of_session) || self.origin.lost.as_deref() == Some(owner) {
            HeldBy::ThisSession
        } else if own.is_empty() {
            HeldBy::Other
        } else {
            HeldBy::ThisClient
        }
    }

    /// Returns whether the request waits for a hold of its own client. A shared request that waits
    /// for shared holds does not count.
    pub(super) fn is_behind_own(&self, holder: &Holder) -> bool {
        let both_share = self.contender.mode != Mode::Exclusive && holder.is_shared();
        !both_share && self.held_by(holder) != HeldBy::Other
    }

    pub(super) fn report_waiting(&self, holder: Option<Holder>, place: u64) {
        let contended = Box::new(self.contention(holder, Some(place)));
        let event = || Event::Waiting(contended.clone());
        self.inner.events.emit(Level::Info, event);
        self.origin.news.put(Error::Contended(contended));
    }

    /// Keeps the failure for the waiters that share the request, and reports it if `is_news`.
    pub(super) fn report_failure(&self, failure: &Failure, since: Duration, is_news: bool) {
        self.origin.news.put(self.store_error(failure.clone()));
        if is_news {
            self.inner.report_outage(&self.name, since, failure);
        }
    }

    pub(super) fn contended(&self, holder: Option<Holder>, place: Option<u64>) -> Error {
        Error::Contended(Box::new(self.contention(holder, place)))
    }

    fn contention(&self, holder: Option<Holder>, place: Option<u64>) -> Contended {
        Contended {
            name: self.name.as_str().to_owned(),
            held_by: holder
                .as_ref()
                .map_or(HeldBy::Other, |holder| self.held_by(holder)),
            holder,
            place,
            waited: self.waited(),
        }
    }

    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        self.inner.refused(&self.name, self.contender.mode, refusal)
    }

    pub(super) fn store_error(&self, failure: Failure) -> Error {
        self.inner.store_error(&self.name, failure)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.inner.check_process().is_err() {
            return;
        }
        self.handle.registry().remove(&self.contender.id);
        if self.is_known || 0 < self.unanswered {
            self.inner.keeper.post(PendingRelease {
                name: self.name.clone(),
                contender: self.contender.clone(),
                tombstone: 0 < self.unanswered,
                held: None,
            });
        }
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use std::time::Duration;

    use testkit::{Server, eventually_async, unique_name};

    use crate::{Client, Guard};

    #[tokio::test(start_paused = true)]
    async fn ended_request_is_unregistered() {
        let client = Client::in_memory();
        let lock = client.lock("l");
        let guard = lock.acquire().await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(3), lock.acquire()).await;
        assert!(waited.is_err());
        assert!(lock.try_acquire().await.unwrap().is_none());
        assert_eq!(client.inner.handle().registry().len(), 0);
        drop(guard);
    }

    #[tokio::test(start_paused = true)]
    async fn only_unanswered_acquires_leave_a_tombstone() {
        let client = Client::in_memory();
        let lock = client.lock("l");
        let leaves_one = |guard: &Guard| guard.hold().state.tombstone;
        let first = lock.acquire().await.unwrap();
        assert!(!leaves_one(&first), "granted at once");
        let waiter = tokio::spawn({
            let lock = lock.clone();
            async move { lock.acquire().await.unwrap() }
        });
        tokio::time::sleep(Duration::from_secs(3)).await; // for a few polls
        drop(first);
        let second = waiter.await.unwrap();
        assert!(!leaves_one(&second), "granted after some polls");
        drop(second);
        client.testing().go_silent();
        let waiter = tokio::spawn(async move { lock.acquire().await.unwrap() });
        tokio::time::sleep(Duration::from_secs(8)).await; // until the first poll fails
        client.testing().answer();
        assert!(
            leaves_one(&waiter.await.unwrap()),
            "granted after a silence"
        );
    }

    #[tokio::test]
    async fn refused_acquire_leaves_no_pending_release() {
        let server = Server::start();
        let client = Client::connect(&server.url()).await.unwrap();
        let name = unique_name();
        server.call(&["SET", &format!("arbiter:{name}"), "other data"]);
        client.lock(&name).try_acquire().await.unwrap_err();
        assert!(!client.inner.keeper.is_busy());
        client.lock(&name).acquire().await.unwrap_err();
        assert!(!client.inner.keeper.is_busy());
    }

    #[tokio::test]
    async fn answered_waiter_leaves_no_key_on_timeout() {
        let server = Server::start();
        let client = Client::connect(&server.url()).await.unwrap();
        let lock = client.lock(&unique_name());
        let guard = lock.acquire().await.unwrap();
        let keys = || format!("{:?}", server.call(&["KEYS", "*"]));
        let before = keys();
        let waiter = lock.wait_timeout(Duration::from_millis(200));
        assert!(waiter.acquire().await.unwrap_err().is_contended());
        assert!(eventually_async(Duration::from_secs(2), || keys() == before).await);
        drop(guard);
    }
}
