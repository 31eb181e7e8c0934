//! Dials the server that a connection's route leads to, for all that wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::pending;

use super::{ConnectionShared, Up};
use crate::store::redis::client_name::send_library;
use crate::store::redis::dial::{Line, dial};
use crate::store::redis::failure::failure_of;
use crate::store::redis::introduction::{Role, introduce, protects_itself};
use crate::store::redis::target::Target;
use crate::store::{Failure, FailureKind};
use crate::system::process::UnlessForked;
use crate::system::rng;

/// The pauses before the sentinels are asked again for the master, if the one they named is none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// A connection, its round-trip time, and whether a master protects itself.
type Dialed = (Line, Duration, Option<bool>);

impl ConnectionShared {
    /// Waits for whoever dials, or dials.
    pub(super) async fn dial_or_join(self: Arc<Self>) -> Result<Arc<Up>, Failure> {
        let gate = self.dialling.clone().lock_owned().await;
        if let Some(known) = self.state().known() {
            return known;
        }
        let shared = self.clone();
        let dialling = async move {
            let dialled = shared.dial().await;
            drop(gate);
            dialled
        };
        let dialling = tokio::spawn(UnlessForked::new(dialling));
        self.state().dialing = Some(dialling.abort_handle());
        match dialling.await {
            Ok(Ok(dialled)) => dialled,
            _ => Err(Failure::before_sending(
                FailureKind::Unreachable,
                "the runtime has ended",
            )),
        }
    }

    async fn dial(self: &Arc<Self>) -> Result<Arc<Up>, Failure> {
        let (limit, begun) = (self.state().dial_limit, Instant::now());
        let (dialled, mut state) = loop {
            let mut replaced = self.replaced.subscribe();
            let left = limit.saturating_sub(begun.elapsed());
            let dialled = tokio::select! {
                biased;
                // The server that is being dialed is no longer the master.
                _ = replaced.changed() => continue,
                dialled = self.dial_and_subscribe(left) => dialled,
            };
            // What retires the connection counts first, and then waits for the lock.
            let state = self.state();
            if !replaced.has_changed().unwrap_or(false) {
                break (dialled, state);
            }
        };
        match dialled {
            Ok((line, round_trip, protects_itself)) => {
                let up = Arc::new(Up {
                    line,
                    protects_itself,
                    since: Instant::now(),
                    round_trip,
                    unanswered: AtomicU32::new(0),
                    is_in_doubt: AtomicBool::new(false),
                });
                state.down = None;
                state.backoff.reset();
                state.dial_limit = self
                    .limits
                    .command
                    .saturating_mul(2)
                    .min(self.limits.connect);
                state.up = Some(up.clone());
                let was_lost = std::mem::take(&mut state.is_lost);
                drop(state);
                if was_lost {
                    self.events.reconnected(&self.route);
                }
                Ok(up)
            }
            Err(failure) => {
                let pause = state.backoff.next(rng::draw());
                state.dial_limit = state.dial_limit.saturating_mul(2).min(self.limits.connect);
                state.down = Some((failure.clone(), Instant::now() + pause));
                Err(failure)
            }
        }
    }

    /// Dials the server that the route leads to. One that is no longer the master is left for the
    /// next answer of the sentinels.
    async fn dial_and_subscribe(self: &Arc<Self>, limit: Duration) -> Result<Dialed, Failure> {
        let begun = Instant::now();
        let mut pause = SHORTEST_PAUSE;
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            let target = self.route.target(left).await?;
            let left = limit.saturating_sub(begun.elapsed());
            match self.dial_target(&target, left).await {
                Err(failure) if failure.kind == FailureKind::ReadOnly && pause < left => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                dialed => return dialed,
            }
        }
    }

    /// Returns the connection, its round-trip time, and whether a master protects itself.
    async fn dial_target(
        self: &Arc<Self>,
        target: &Target,
        dial_limit: Duration,
    ) -> Result<Dialed, Failure> {
        let shared = Arc::downgrade(self);
        let on_push = move |push| {
            if let Some(shared) = shared.upgrade() {
                shared.hear(push);
            }
        };
        let mut line = dial(target, dial_limit, on_push).await?;
        // Both in one round trip.
        let begun = Instant::now();
        let mut subscriber = line.connection.clone();
        let subscribed = async {
            match &self.subscription {
                Some(subscription) => subscriber.subscribe(&*subscription.channel).await,
                None => Ok(()),
            }
        };
        let library = send_library(line.connection.clone());
        let name = &self.client_name;
        let both = async {
            tokio::select! {
                biased;
                both = async { tokio::join!(introduce(&mut line, target, name), subscribed) } => both,
                // It is sent along, and its answer is not waited for.
                never = library.then(|()| pending()) => never,
            }
        };
        let Ok((introduced, subscribed)) = tokio::time::timeout(dial_limit, both).await else {
            let detail = "no answer to HELLO and SUBSCRIBE";
            return Err(Failure::before_sending(FailureKind::Silent, detail));
        };
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
        let Some(sentinels) = self.route.sentinels() else {
            return Ok((line, round_trip, None));
        };
        if role == Role::Replica {
            let detail = "it is no longer the master";
            return Err(Failure::before_sending(FailureKind::ReadOnly, detail));
        }
        let protects_itself = tokio::time::timeout(dial_limit, protects_itself(&mut line)).await;
        let protects_itself = protects_itself.unwrap_or(Ok(false))?;
        if !protects_itself {
            sentinels.report_unprotected();
        }
        Ok((line, round_trip, Some(protects_itself)))
    }
}
