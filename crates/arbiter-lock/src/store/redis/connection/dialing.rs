//! Dials the server of a connection's route, once for all callers that wait for it.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::pending;
use tokio::time::timeout_at;

use super::messages::{Messages, closed};
use super::replicas::ConnectedReplicas;
use super::{ConnectionShared, Up, replaced as server_replaced};
use crate::store::redis::dial::{Line, dial};
use crate::store::redis::failure::failure_of;
use crate::store::redis::introduction::{Role, introduce};
use crate::store::redis::library::send_library;
use crate::store::redis::target::Target;
use crate::store::{Failure, FailureKind};
use crate::system::process::UnlessForked;
use crate::system::rng;

/// The pauses before the sentinels are asked again for the master, if the one they named is none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A connection, its messages, and its round-trip time.
type Dialed = (Line, Messages, Duration);

impl ConnectionShared {
    /// Opens a connection, or waits for the dial of another caller.
    pub(super) async fn dial_or_join(self: Arc<Self>) -> Result<Arc<Up>, Failure> {
        let gate = self.dialing_lock.clone().lock_owned().await;
        if let Some(known) = self.state().known() {
            return known;
        }
        let shared = self.clone();
        let dialing = async move {
            let dialed = shared.dial().await;
            drop(gate);
            dialed
        };
        let dialing = tokio::spawn(UnlessForked::new(dialing));
        self.state().dialing = Some(dialing.abort_handle());
        match dialing.await {
            Ok(Ok(dialed)) => dialed,
            _ => Err(Failure::before_sending(
                FailureKind::Unreachable,
                "the runtime has ended",
            )),
        }
    }

    async fn dial(self: &Arc<Self>) -> Result<Arc<Up>, Failure> {
        let (limit, begun) = (self.state().dial_limit, Instant::now());
        let (dialed, mut state) = loop {
            let mut replaced = self.replaced.subscribe();
            let is_retired = self.state().is_retired;
            if is_retired {
                break (Err(server_replaced()), self.state());
            }
            let left = limit.saturating_sub(begun.elapsed());
            let dialed = tokio::select! {
                biased;
                // The server that is dialed is no longer the master.
                _ = replaced.changed() => continue,
                dialed = self.dial_and_subscribe(left) => dialed,
            };
            // `retire` changes `replaced` before it waits for this lock.
            let state = self.state();
            if !replaced.has_changed().unwrap_or(false) {
                break (dialed, state);
            }
        };
        state.retried = None;
        let dialed = match dialed {
            // It was closed meanwhile, and nothing was sent on it.
            Ok((_, messages, _)) if !messages.begin() => Err(closed()),
            dialed => dialed,
        };
        match dialed {
            Ok((line, messages, round_trip)) => {
                let up = Arc::new(Up {
                    line,
                    messages,
                    channels: Mutex::default(),
                    since: Instant::now(),
                    round_trip,
                    unanswered: AtomicU32::new(0),
                    is_in_doubt: AtomicBool::new(false),
                    sees_all: Mutex::new(None),
                    check_of_replicas: tokio::sync::Mutex::new(()),
                });
                state.down = None;
                state.backoff.reset();
                let limits = self.settings.limits;
                state.dial_limit = limits.command.saturating_mul(2).min(limits.connect);
                state.up = Some(up.clone());
                let was_lost = std::mem::take(&mut state.is_lost);
                drop(state);
                // Grants that arrived before, or were missed, are found.
                self.poll_again(&up);
                if was_lost {
                    self.settings.events.reconnected(&self.route);
                }
                Ok(up)
            }
            Err(failure) => {
                let pause = state.backoff.next(rng::draw());
                let most = self.settings.limits.connect;
                state.dial_limit = state.dial_limit.saturating_mul(2).min(most);
                state.down = Some((failure.clone(), Instant::now() + pause));
                drop(state);
                self.route.doubt();
                Err(failure)
            }
        }
    }

    /// Dials the server of the route within the limit. A server that is no longer the master is
    /// left, and the sentinels are queried again.
    async fn dial_and_subscribe(self: &Arc<Self>, limit: Duration) -> Result<Dialed, Failure> {
        let end = tokio::time::Instant::now() + limit;
        let left = || end.saturating_duration_since(tokio::time::Instant::now());
        let mut pause = SHORTEST_PAUSE;
        let mut is_repeated = false;
        loop {
            let dialed = match self.route.target(left()).await {
                Ok(target) => self.dial_target(&target, end).await,
                Err(failure) => Err(failure),
            };
            match dialed {
                // The credentials may have been replaced between the question and the login.
                Err(failure) if failure.kind == FailureKind::Rejected && !is_repeated => {
                    is_repeated = true;
                }
                Err(failure) if failure.kind == FailureKind::ReadOnly && pause < left() => {
                    self.state().retried = Some(failure);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                // The time ran out because the sentinels kept naming a replica.
                Err(failure) if failure.kind == FailureKind::Silent => {
                    return Err(self.state().retried.take().unwrap_or(failure));
                }
                dialed => return dialed,
            }
        }
    }

    /// Dials one server until `end`.
    async fn dial_target(
        self: &Arc<Self>,
        target: &Target,
        end: tokio::time::Instant,
    ) -> Result<Dialed, Failure> {
        let messages = Messages::new();
        let (shared, of) = (Arc::downgrade(self), messages.clone());
        let on_push = move |push| {
            if let Some(shared) = shared.upgrade() {
                shared.receive(push, &of);
            }
        };
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        let mut line = dial(target, left, on_push).await?;
        // Both in one round trip.
        let begun = Instant::now();
        let mut subscriber = line.connection.clone();
        let subscribed = async {
            let subscription = self.subscription.as_ref();
            match subscription.and_then(|subscription| subscription.channel.as_ref()) {
                Some(channel) => subscriber.subscribe(&**channel).await,
                None => Ok(()),
            }
        };
        let library = send_library(line.connection.clone());
        let name = &self.settings.client_name;
        let both = async {
            tokio::select! {
                biased;
                both = async { tokio::join!(introduce(&mut line, target, name), subscribed) } => both,
                // It is sent along, and its answer is not waited for.
                never = library.then(|()| pending()) => never,
            }
        };
        let both = timeout_at(end, both).await;
        let (introduced, subscribed) = both.map_err(|_| silent("HELLO and SUBSCRIBE"))?;
        let round_trip = begun.elapsed();
        let role = introduced?;
        match subscribed {
            Ok(()) => {}
            // Without notifications: its waiters poll.
            Err(e) if e.code() == Some("NOPERM") => {}
            Err(e) => {
                return Err(Failure {
                    may_have_run: false,
                    ..failure_of(&e)
                });
            }
        }
        if let Some(sentinels) = self.route.sentinels() {
            if role == Role::Replica {
                let detail = "it is no longer the master";
                return Err(Failure::before_sending(FailureKind::ReadOnly, detail));
            }
            let queried = timeout_at(end, ConnectedReplicas::query(&mut line.connection)).await;
            if queried.map_err(|_| silent("INFO"))??.is_none() {
                sentinels.report_unprotected();
            }
        }
        Ok((line, messages, round_trip))
    }
}

fn silent(queries: &str) -> Failure {
    Failure::before_sending(FailureKind::Silent, format!("no answer to {queries}"))
}
