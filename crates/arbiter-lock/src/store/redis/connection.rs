//! One runtime's connection: dialed when it is needed, and replaced when its server does not answer.
//!
//! A request is sent once. It is repeated only if the server did not know the script, and so
//! certainly did not run it.

mod acknowledging;
mod calls;
mod dialing;
mod login;
mod messages;
mod replicas;
mod silence;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use arbiter_lock_core::Backoff;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::dial::{ConnectionSettings, Line};
use super::failure::failure_of;
use super::retire::Retire;
use super::route::ServerRoute;
use crate::store::{Failure, FailureKind, Registry, Source};
use messages::{Channels, Messages, out_of_order};

/// The shortest time that a connection to a read-only server is kept. So its address is not dialed
/// for each request.
const SHORTEST_STAY: Duration = Duration::from_secs(1);

/// An answer, and the connection that it arrived on.
pub(super) type Arrival = (Value, Source);

/// A connection of the runtime that uses it.
pub(super) struct Connection(Arc<ConnectionShared>);

struct ConnectionShared {
    route: ServerRoute,
    settings: ConnectionSettings,
    subscription: Option<Subscription>,
    state: Mutex<ConnectionState>,
    /// Locked while the server is dialed.
    dialing_lock: Arc<tokio::sync::Mutex<()>>,
    /// Changes when the master is replaced. A dialing that began before starts again.
    replaced: watch::Sender<()>,
}

/// The channel of the connection, and the registry that receives its messages.
pub(super) struct Subscription {
    /// Subscribed to when the server is dialed. On a node of a cluster, each slot has a channel.
    pub(super) channel: Option<Arc<str>>,
    pub(super) registry: Weak<Registry>,
}

struct ConnectionState {
    up: Option<Arc<Up>>,
    /// Why the last dialing failed, and until when it is not repeated.
    down: Option<(Failure, Instant)>,
    /// Why the present dialing tries again.
    retried: Option<Failure>,
    backoff: Backoff,
    /// How long the next dialing may take. After a silence it is short, so that a dialing that
    /// hangs does not delay the next one. Each failure doubles it, up to the connect timeout.
    dial_limit: Duration,
    /// Whether a connection was lost and not replaced yet.
    is_lost: bool,
    /// Whether it is to a node of a cluster that was replaced, so that it is not dialed again.
    is_retired: bool,
    /// Ends the latest dialing.
    dialing: Option<AbortHandle>,
}

struct Up {
    line: Line,
    messages: Messages,
    /// The channels of slots that it is subscribed to.
    channels: Mutex<Channels>,
    since: Instant,
    /// The round-trip time, as measured when the server was dialed.
    round_trip: Duration,
    /// How many requests in a row were not answered.
    unanswered: AtomicU32,
    /// Whether a task checks if the server still answers.
    is_in_doubt: AtomicBool,
    /// When it was last checked if a master sees all of its replicas, and the result.
    sees_all: Mutex<Option<(Instant, bool)>>,
    check_of_replicas: tokio::sync::Mutex<()>,
}

impl Up {
    /// Returns whether the server has become a replica, so that its address may belong to another
    /// server by now.
    fn is_left_behind(&self, failure: &Failure, route: &ServerRoute) -> bool {
        let may_stay = route.sentinels().is_none() && self.since.elapsed() < SHORTEST_STAY;
        failure.kind == FailureKind::ReadOnly && !may_stay
    }
}

impl ConnectionState {
    /// Retires the connection: its messages no longer count. Requests on it may still be answered.
    fn take_up(&mut self) -> Option<Arc<Up>> {
        let up = self.up.take();
        if let Some(up) = &up {
            up.messages.ignore();
        }
        up
    }

    /// Returns the connection, or why it is never dialed again.
    fn at_hand(&self) -> Option<Result<Arc<Up>, Failure>> {
        let retired = self.is_retired.then(|| Err(replaced()));
        self.up.clone().map(Ok).or(retired)
    }

    /// Returns the connection, or the recent failure to dial.
    fn known(&self) -> Option<Result<Arc<Up>, Failure>> {
        let down = self
            .down
            .as_ref()
            .filter(|(_, until)| Instant::now() < *until);
        self.at_hand()
            .or(down.map(|(failure, _)| Err(failure.clone())))
    }
}

impl Connection {
    /// Makes a connection that is not dialed yet. With a subscription, it subscribes to the channel.
    pub(super) fn new(
        route: ServerRoute,
        settings: ConnectionSettings,
        subscription: Option<Subscription>,
    ) -> Self {
        let dial_limit = settings.limits.connect;
        let shared = Arc::new(ConnectionShared {
            route,
            settings,
            subscription,
            state: Mutex::new(ConnectionState {
                up: None,
                down: None,
                retried: None,
                backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)),
                dial_limit,
                is_lost: false,
                is_retired: false,
                dialing: None,
            }),
            dialing_lock: Arc::default(),
            replaced: watch::Sender::new(()),
        });
        let connection: Weak<ConnectionShared> = Arc::downgrade(&shared);
        shared.route.add(connection);
        Self(shared)
    }

    /// Connects within `limit` and the connect timeout, if there is no connection yet.
    pub(super) async fn connect(&self, limit: Duration) -> Result<(), Failure> {
        self.up(limit.min(self.0.settings.limits.connect))
            .await
            .map(drop)
    }

    /// Returns the round-trip time as last measured; zero while there is no connection.
    pub(super) fn round_trip(&self) -> Duration {
        let up = self.0.state().up.clone();
        up.map_or(Duration::ZERO, |up| up.round_trip)
    }

    /// Returns how many replicas the sentinels know, reachable or not, if they name them.
    pub(super) fn replicas(&self) -> Option<u32> {
        let replicas = self.0.route.sentinels()?.replicas()?;
        u32::try_from(replicas.len()).ok()
    }

    /// Returns whether its node was replaced.
    pub(super) fn is_retired(&self) -> bool {
        self.0.state().is_retired
    }

    /// Returns the connection, and how long a command on it may take.
    async fn dialed(&self, limit: Duration) -> Result<(Arc<Up>, Duration), Failure> {
        let (begun, command) = (Instant::now(), self.0.settings.limits.command);
        let up = self.up(limit.min(command)).await?;
        Ok((up, limit.saturating_sub(begun.elapsed()).min(command)))
    }

    /// Sends something once, and waits for the answer within `limit`.
    async fn send<T, F: Future<Output = RedisResult<T>>>(
        &self,
        up: &Arc<Up>,
        is_alone: bool,
        limit: Duration,
        send: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Failure> {
        self.send_and_wait(up, is_alone, limit, Duration::ZERO, send)
            .await
    }

    /// Sends something once, as `send` does. The server may wait for `delay` before it answers.
    async fn send_and_wait<T, F: Future<Output = RedisResult<T>>>(
        &self,
        up: &Arc<Up>,
        is_alone: bool,
        limit: Duration,
        delay: Duration,
        send: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Failure> {
        if limit.is_zero() {
            // A request that is sent would have to be ended, since its answer comes too late.
            let detail = "no time was left to send it";
            return Err(Failure::before_sending(FailureKind::Silent, detail));
        }
        let limit = match self.0.is_heard() || up.sees_all() == Some(true) {
            true => limit,
            false => Box::pin(self.0.check_replicas(up, limit)).await?,
        };
        let connection = up.line.connection.clone();
        let answer = up.line.driver.call(is_alone, || send(connection));
        let Some(answer) = self.0.in_time(up, answer, limit, delay).await else {
            let detail = format!("no answer within {:?}", in_millis(limit));
            return Err(Failure::unknown(FailureKind::Silent, detail));
        };
        up.line.arrived.understood();
        if up.messages.are_out_of_order() {
            return Err(out_of_order());
        }
        let is_over = answer.as_ref().is_err_and(|e| e.code().is_none());
        let answer = match answer.map_err(|e| failure_of(&e)) {
            Err(failure) if failure.kind == FailureKind::Denied => {
                Err(Box::pin(self.0.denied(up, failure)).await)
            }
            answer => answer,
        };
        let is_rejected = |failure: &Failure| failure.kind == FailureKind::Rejected;
        let is_over = is_over || answer.as_ref().is_err_and(is_rejected);
        match &answer {
            Err(failure) if is_over || up.is_left_behind(failure, &self.0.route) => {
                self.0.lose(&up.messages, failure)
            }
            _ => up.unanswered.store(0, Ordering::Relaxed),
        }
        answer
    }

    /// Returns the connection, and dials if there is none. The dialing continues if the caller is
    /// dropped.
    async fn up(&self, limit: Duration) -> Result<Arc<Up>, Failure> {
        let at_hand = self.0.state().at_hand();
        if let Some(at_hand) = at_hand {
            return at_hand;
        }
        let dialing = Box::pin(self.0.clone().dial_or_join());
        let begun = Instant::now();
        let dialed = tokio::time::timeout(limit, dialing).await;
        dialed.unwrap_or_else(|_| {
            let state = self.0.state();
            let down = state.down.clone().map(|(failure, _)| failure);
            let down = down.or_else(|| state.retried.clone());
            drop(state);
            let sentinels = self.0.route.sentinels();
            let unheard = || sentinels.and_then(|group| group.unheard_within(limit));
            let failure = down.or_else(unheard);
            Err(failure.unwrap_or_else(|| Failure::too_late("connection", limit, begun.elapsed())))
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The line's callback holds the shared part weakly, so this closes the line.
        let mut state = self.0.state();
        let (up, dialing) = (state.take_up(), state.dialing.take());
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

    /// Drops the current connection if it is that of these messages. The waiters poll, and so dial
    /// again.
    fn lose(&self, messages: &Messages, cause: &Failure) {
        let mut state = self.state();
        let up = state.up.as_ref();
        if !up.is_some_and(|up| up.messages.is(messages)) {
            return;
        }
        let lost = state.take_up();
        state.is_lost = true;
        drop(state);
        self.settings.events.disconnected(&self.route, cause);
        self.route.doubt();
        if let Some(lost) = lost {
            self.poll_again(&lost);
        }
    }
}

impl Retire for ConnectionShared {
    /// Closes the connection. The next request dials the new master, and waiters poll there. One to
    /// a node of a cluster is not dialed again: the next request goes to another node.
    fn retire(&self) {
        self.replaced.send_replace(());
        let mut state = self.state();
        state.is_retired = self.route.node().is_some();
        let retired = state.take_up();
        state.is_lost |= retired.is_some();
        state.down = None;
        state.backoff.reset();
        drop(state);
        if let Some(retired) = &retired {
            // No request waits for the old master.
            retired.line.driver.close();
            self.settings.events.disconnected(&self.route, &replaced());
        }
        // Also those that were not granted because the master did not answer.
        if let Some(registry) = self.registry() {
            registry.poll_again(|_| true);
        }
    }
}

/// Returns the failure of a connection to a master that was replaced.
fn replaced() -> Failure {
    Failure::before_sending(FailureKind::Unreachable, "another master has replaced it")
}

/// Rounds a time limit for messages.
fn in_millis(limit: Duration) -> Duration {
    Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::NoopLogger;
    use crate::events::event::EventQueue;
    use crate::store::redis::dial::Limits;
    use crate::store::redis::target::Target;

    const LOGIN: &[u8] = b"%1\r\n+server\r\n+redis\r\n";
    const LIMITS: Limits = Limits {
        command: Duration::from_secs(1),
        connect: Duration::from_millis(500),
    };

    fn connection(port: u16, subscription: Option<Subscription>) -> Connection {
        let (target, _) = Target::parse(&format!("redis://127.0.0.1:{port}")).unwrap();
        let events = EventQueue::new(Box::new(NoopLogger));
        let route = ServerRoute::One(Arc::new(target));
        let settings = ConnectionSettings {
            limits: LIMITS,
            client_name: "test".into(),
            key_prefix: crate::store::KeyPrefix::default(),
            events,
        };
        Connection::new(route, settings, subscription)
    }

    #[tokio::test]
    async fn retiring_makes_every_waiter_poll() {
        let registry = Arc::new(Registry::default());
        let subscription = Subscription {
            channel: Some("c".into()),
            registry: Arc::downgrade(&registry),
        };
        let connection = connection(1, Some(subscription));
        let waiters = ["a", "b"].map(|id| registry.register(id.into(), "c".into()));
        connection.0.retire();
        for waiter in waiters {
            let woken = tokio::time::timeout(Duration::from_secs(1), waiter.woken()).await;
            assert!(woken.is_ok());
        }
    }

    /// A request on a connection may outlast it, and keeps it open.
    #[tokio::test]
    async fn replaced_connection_delivers_no_grant() {
        let server = testkit::Server::start();
        let registry = Arc::new(Registry::default());
        let channel: Arc<str> = testkit::unique_name().into();
        let subscription = Subscription {
            channel: Some(channel.clone()),
            registry: Arc::downgrade(&registry),
        };
        let connection = connection(server.port(), Some(subscription));
        let waiter = registry.register("r".into(), channel.clone());
        let (up, _) = connection.dialed(LIMITS.connect).await.unwrap();
        let granted = || tokio::time::timeout(Duration::from_millis(300), waiter.granted());
        let publish = || server.call(&["PUBLISH", &channel, "r 7 1000 1"]);
        publish();
        assert!(granted().await.is_ok());
        let silent = Failure::unknown(FailureKind::Silent, "x");
        connection.0.lose(&up.messages, &silent);
        publish();
        assert!(
            granted().await.is_err(),
            "it is the message of a replaced connection"
        );
    }

    #[tokio::test]
    async fn connection_closed_while_dialing_is_not_used() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut buffer = [0; 4_096];
            for answers in [LOGIN, [LOGIN, b"+OK\r\n+OK\r\n"].concat().as_slice()] {
                let _ = stream.read(&mut buffer).await.unwrap();
                stream.write_all(answers).await.unwrap();
            }
        });
        let connection = connection(port, None);
        let _ = connection.dialed(LIMITS.connect).await;
        served.await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(connection.0.state().up.is_none());
    }

    #[tokio::test]
    async fn all_steps_of_dialing_share_one_limit() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            tokio::time::sleep(LIMITS.connect * 7 / 10).await;
            // The login succeeds. Nothing else is answered.
            stream.write_all(LOGIN).await.unwrap();
            std::future::pending::<()>().await;
        });
        let connection = connection(port, None);
        let begun = Instant::now();
        let failure = connection.0.clone().dial_or_join().await.err().unwrap();
        let after = begun.elapsed();
        assert_eq!(failure.detail, "no answer to HELLO and SUBSCRIBE");
        assert!(after < LIMITS.connect * 14 / 10, "{after:?}");
        served.abort();
    }
}
