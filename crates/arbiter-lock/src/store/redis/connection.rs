//! One runtime's connection: dialled when it is needed, watched, and dialled anew when it has
//! gone silent.
//!
//! A step is never sent again by itself, but for the one case in which it certainly did not
//! run: the server did not know the script.

mod dialing;
mod silence;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arbiter_lock_core::Backoff;
use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::dial::{Limits, Line};
use super::failure::failure_of;
use super::reply;
use super::route::ServerRoute;
use super::script::Call;
use super::sentinel::Retire;
use crate::events::event::EventQueue;
use crate::store::{Failure, FailureKind, Registry};

/// How long a connection to a server that is read-only is kept at the least: its address is not
/// dialled anew for each step.
const SHORTEST_STAY: Duration = Duration::from_secs(1);

/// A connection of the runtime that uses it.
pub(super) struct Connection(Arc<ConnectionShared>);

struct ConnectionShared {
    route: ServerRoute,
    limits: Limits,
    client_name: Arc<str>,
    subscription: Option<Subscription>,
    events: EventQueue,
    state: Mutex<ConnectionState>,
    /// Held by whoever dials.
    dialling: Arc<tokio::sync::Mutex<()>>,
    /// Counts how often the master was replaced: a dialing that began before starts again.
    replaced: watch::Sender<u64>,
}

/// Where messages go.
pub(super) struct Subscription {
    pub(super) channel: Arc<str>,
    pub(super) registry: Weak<Registry>,
}

struct ConnectionState {
    up: Option<Arc<Up>>,
    /// Why the last dialling failed, and until when it is not repeated.
    down: Option<(Failure, Instant)>,
    backoff: Backoff,
    /// How long the next dialling may take. After a silence one that hangs must not stand in the
    /// way of the next for long; each failure doubles it, up to the limit of connecting.
    dial_limit: Duration,
    /// Whether a connection was lost, and none stands again.
    is_lost: bool,
    /// Ends the dialing that was begun last.
    dialing: Option<AbortHandle>,
}

struct Up {
    line: Line,
    since: Instant,
    /// How long the way to the server and back took at dialing.
    round_trip: Duration,
    unanswered: AtomicU32,
    /// Whether somebody finds out if it has gone silent.
    is_in_doubt: AtomicBool,
    /// Of the master of a Sentinel group: whether it refuses writes without replicas.
    protects_itself: Option<bool>,
}

impl Up {
    /// Whether the server has become a replica, so that its address may lead to another one by now.
    fn is_left_behind(&self, failure: &Failure) -> bool {
        let may_stay = self.protects_itself.is_none() && self.since.elapsed() < SHORTEST_STAY;
        failure.kind == FailureKind::ReadOnly && !may_stay
    }
}

impl ConnectionState {
    /// The connection, or why there was none a moment ago.
    fn known(&self) -> Option<Result<Arc<Up>, Failure>> {
        let down = self
            .down
            .as_ref()
            .filter(|(_, until)| Instant::now() < *until);
        let up = self.up.as_ref().map(|up| Ok(up.clone()));
        up.or(down.map(|(failure, _)| Err(failure.clone())))
    }
}

impl Connection {
    /// No I/O yet. With subscription, the connection subscribes to their channel.
    pub(super) fn new(
        route: ServerRoute,
        limits: Limits,
        client_name: Arc<str>,
        subscription: Option<Subscription>,
        events: EventQueue,
    ) -> Self {
        let shared = Arc::new(ConnectionShared {
            route,
            limits,
            client_name,
            subscription,
            events,
            state: Mutex::new(ConnectionState {
                up: None,
                down: None,
                backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)),
                dial_limit: limits.connect,
                is_lost: false,
                dialing: None,
            }),
            dialling: Arc::default(),
            replaced: watch::Sender::new(0),
        });
        if let Some(sentinels) = shared.route.sentinels() {
            let connection: Weak<ConnectionShared> = Arc::downgrade(&shared);
            sentinels.add(connection);
        }
        Self(shared)
    }

    /// Changes when the server is replaced by another one, if that can be.
    pub(super) fn switches(&self) -> Option<watch::Receiver<u64>> {
        let sentinels = self.0.route.sentinels();
        sentinels.map(|sentinels| sentinels.switches())
    }

    /// Connects, if that has not happened yet, within `limit` and the limit of connecting.
    pub(super) async fn connect(&self, limit: Duration) -> Result<(), Failure> {
        self.up(limit.min(self.0.limits.connect)).await.map(drop)
    }

    /// Returns how long the way to the server and back took when it was last dialed; zero while
    /// there is no connection.
    pub(super) fn round_trip(&self) -> Duration {
        let up = self.0.state().up.clone();
        up.map_or(Duration::ZERO, |up| up.round_trip)
    }

    /// Sends a step and waits for its answer within `limit`. To dial may take as long as a command,
    /// and the command then has its whole time.
    pub(super) async fn call(&self, call: &Call, limit: Duration) -> Result<Value, Failure> {
        let dialing = Instant::now();
        let up = self.up(limit.min(self.0.limits.command)).await?;
        let limit = limit.saturating_sub(dialing.elapsed());
        let limit = limit.min(self.0.limits.command);
        let begun = Instant::now();
        let left = limit;
        let is_alone = self.0.waiters() <= call.own_waiters();
        match self.send(&up, call.by_hash(), left, is_alone).await {
            Err(failure) if failure.detail.starts_with("NOSCRIPT") => {
                let left = limit.saturating_sub(begun.elapsed());
                self.send(&up, &call.by_source(), left, is_alone).await
            }
            result => result,
        }
    }

    /// Sends a command that reads, and waits for its answer within `limit`, as a call does.
    pub(super) async fn query(&self, cmd: &Cmd, limit: Duration) -> Result<Value, Failure> {
        let dialing = Instant::now();
        let up = self.up(limit.min(self.0.limits.command)).await?;
        let left = limit.saturating_sub(dialing.elapsed());
        let is_alone = self.0.waiters() == 0;
        self.send(&up, cmd, left.min(self.0.limits.command), is_alone)
            .await
    }

    /// Sends one command, once.
    async fn send(
        &self,
        up: &Arc<Up>,
        cmd: &Cmd,
        limit: Duration,
        is_alone: bool,
    ) -> Result<Value, Failure> {
        if limit.is_zero() {
            // No answer could be waited for, and what was sent would have to be ended.
            let detail = "no time was left to send it";
            return Err(Failure::before_sending(FailureKind::Silent, detail));
        }
        self.0.check_heard(up)?;
        let mut connection = up.line.connection.clone();
        let driver = &up.line.driver;
        let answer = driver.call(is_alone, || connection.send_packed_command(cmd));
        let Some(answer) = self.0.in_time(up, answer, limit).await else {
            let detail = format!("no answer within {:?}", in_millis(limit));
            return Err(Failure::unknown(FailureKind::Silent, detail));
        };
        up.line.arrived.understood();
        let answer = answer.and_then(Value::extract_error);
        let is_over = answer.as_ref().is_err_and(|e| e.code().is_none());
        let answer = answer.map_err(|e| failure_of(&e));
        match &answer {
            Err(failure) if is_over || up.is_left_behind(failure) => self.0.drop_line(up, failure),
            _ => up.unanswered.store(0, Ordering::Relaxed),
        }
        answer
    }

    /// The connection, dialled if need be. The dialling goes on if the caller goes away.
    async fn up(&self, limit: Duration) -> Result<Arc<Up>, Failure> {
        if let Some(up) = &self.0.state().up {
            return Ok(up.clone());
        }
        let dialling = Box::pin(self.0.clone().dial_or_join());
        let dialled = tokio::time::timeout(limit, dialling).await;
        dialled.unwrap_or_else(|_| {
            let down = self.0.state().down.clone();
            let sentinels = self.0.route.sentinels();
            let unheard = || sentinels.and_then(|group| group.unheard_within(limit));
            let failure = down.map(|(failure, _)| failure).or_else(unheard);
            Err(failure.unwrap_or_else(|| {
                Failure::before_sending(
                    FailureKind::Silent,
                    format!("no connection within {:?}", in_millis(limit)),
                )
            }))
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The line's own messages hold the shared part weakly, so this closes it.
        let mut state = self.0.state();
        let (up, dialing) = (state.up.take(), state.dialing.take());
        drop(state);
        drop(up);
        if let Some(dialing) = dialing {
            dialing.abort();
        }
    }
}

impl ConnectionShared {
    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of this runtime wait for messages.
    fn waiters(&self) -> usize {
        let registry = self
            .subscription
            .as_ref()
            .and_then(|subscription| subscription.registry.upgrade());
        registry.map_or(0, |registry| registry.len())
    }

    /// Drops the connection; the next step dials anew.
    fn drop_line(&self, up: &Arc<Up>, cause: &Failure) {
        self.lose(|current| Arc::ptr_eq(current, up), cause);
    }

    /// Drops the connection there is, if it is such a one.
    fn lose(&self, is_such: impl FnOnce(&Arc<Up>) -> bool, cause: &Failure) {
        let mut state = self.state();
        if !state.up.as_ref().is_some_and(is_such) {
            return;
        }
        let lost = state.up.take();
        state.is_lost = true;
        drop(state);
        drop(lost);
        self.tell_disconnected(cause);
    }

    fn tell_disconnected(&self, cause: &Failure) {
        self.events.disconnected(&self.route, cause);
    }

    /// Fails unless the sentinels would have announced another master by now.
    fn check_heard(&self, up: &Up) -> Result<(), Failure> {
        match self.route.sentinels() {
            Some(sentinels) if up.protects_itself == Some(false) => sentinels.check_heard(),
            _ => Ok(()),
        }
    }

    /// Takes a message of the server's, or word that the connection is gone.
    fn hear(&self, push: PushInfo) {
        let registry = self
            .subscription
            .as_ref()
            .and_then(|subscription| subscription.registry.upgrade());
        match (push.kind, push.data.as_slice()) {
            (PushKind::Message, [_, Value::BulkString(payload)]) => {
                if let (Some(registry), Some(push)) = (registry, reply::push(payload)) {
                    registry.deliver(push);
                }
            }
            (PushKind::Subscribe, _) => {
                if let Some(registry) = registry {
                    registry.poll_again();
                }
            }
            // Dialled anew by the looks that this rings for.
            (PushKind::Disconnection | PushKind::Unsubscribe, _) => {
                let closed = Failure::unknown(FailureKind::Unreachable, "it was closed from there");
                self.lose(|_| true, &closed);
                if let Some(registry) = registry {
                    registry.poll_again();
                }
            }
            _ => {}
        }
    }
}

impl Retire for ConnectionShared {
    /// The next request dials the new master at once, and waiters poll there.
    fn retire(&self) {
        self.replaced.send_modify(|count| *count += 1);
        let mut state = self.state();
        let retired = state.up.take();
        state.is_lost |= retired.is_some();
        state.down = None;
        state.backoff.reset();
        drop(state);
        if let Some(retired) = retired {
            // No request waits for the old master.
            retired.line.driver.close();
            let cause = "the sentinels announced another master";
            let cause = Failure::unknown(FailureKind::Unreachable, cause);
            self.tell_disconnected(&cause);
        }
        let registry = self.subscription.as_ref();
        if let Some(registry) = registry.and_then(|to| to.registry.upgrade()) {
            registry.poll_again();
        }
    }
}

/// A time limit for people.
fn in_millis(limit: Duration) -> Duration {
    Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoopLogger;
    use crate::store::redis::target::Target;

    #[tokio::test]
    async fn retiring_makes_every_waiter_poll() {
        let registry = Arc::new(Registry::default());
        let subscription = Subscription {
            channel: "c".into(),
            registry: Arc::downgrade(&registry),
        };
        let limits = Limits {
            command: Duration::from_secs(1),
            connect: Duration::from_secs(1),
        };
        let route = ServerRoute::One(Arc::new(Target::parse("redis://127.0.0.1:1").unwrap()));
        let events = EventQueue::new(Box::new(NoopLogger));
        let connection = Connection::new(route, limits, "test".into(), Some(subscription), events);
        let waiters = ["a", "b"].map(|id| registry.register(id.into()));
        connection.0.retire();
        for waiter in waiters {
            let woken = tokio::time::timeout(Duration::from_secs(1), waiter.woken()).await;
            assert!(woken.is_ok());
        }
    }
}
