//! A request on its way: queued, part of a batch, or answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use arbiter_lock_core::{Contender, Renewal, Reply, Request};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::store::{Envelope, Failure, FailureKind};
use crate::system::rng;

/// A request to the worker.
pub(super) struct QueuedRequest {
    /// The name with its prefix, as in the tables.
    pub(super) key: Arc<str>,
    pub(super) request: Request,
    pub(super) stage: Arc<Stage>,
    pub(super) reply: oneshot::Sender<Result<Envelope<Reply>, Failure>>,
    /// When it was first part of a batch.
    pub(super) begun: Option<Instant>,
    /// How often it starts again.
    pub(super) repeats: u32,
    /// Whether all rows of the name have to be read.
    pub(super) needs_all: bool,
    /// Whether a transaction guards the hold that the request would end.
    pub(super) is_guarded: bool,
    /// Which transactions guard the holds of the name, if that was asked.
    pub(super) guards: Option<Arc<str>>,
}

/// Why a request starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The rows have changed meanwhile.
    Changed,
    /// All rows are needed.
    All,
    /// A transaction guards the hold that it ends.
    Guarded,
}

/// The longest pause before a request starts again because its rows have changed.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The pause before a release is repeated that a guarding transaction prevents.
const GUARDED_PAUSE: Duration = Duration::from_millis(50);

/// How far a request has come.
#[derive(Default)]
pub(super) struct Stage(AtomicU8);

const WAITING: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Stage {
    /// Notes that it is sent, unless its caller has given it up.
    pub(super) fn send(&self) -> bool {
        self.change(WAITING, SENT)
    }

    /// Notes that it certainly had no effect, and is not sent.
    pub(super) fn take_back(&self) {
        self.change(SENT, WAITING);
    }

    /// Gives it up. Returns whether it certainly has no effect.
    pub(super) fn give_up(&self) -> bool {
        self.change(WAITING, GIVEN_UP)
    }

    fn change(&self, from: u8, to: u8) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.0.compare_exchange(from, to, order.0, order.1).is_ok()
    }
}

impl QueuedRequest {
    /// Makes a request, and the receiver of its reply.
    pub(super) fn new(
        key: Arc<str>,
        request: Request,
    ) -> (Self, oneshot::Receiver<Result<Envelope<Reply>, Failure>>) {
        let (reply, replied) = oneshot::channel();
        // It concerns the rows of two requests.
        let needs_all = matches!(request, Request::Transfer { .. });
        let queued = Self {
            key,
            request,
            stage: Arc::default(),
            reply,
            begun: None,
            repeats: 0,
            needs_all,
            is_guarded: false,
            guards: None,
        };
        (queued, replied)
    }

    /// Returns the contender of the request, if it has one.
    fn contender(&self) -> Option<&Arc<Contender>> {
        match &self.request {
            Request::Acquire { contender, .. }
            | Request::TryAcquire(contender)
            | Request::End { contender, .. } => Some(contender),
            _ => None,
        }
    }

    /// Returns the id whose rows the request needs, if it has one.
    pub(super) fn id(&self) -> Option<&Arc<str>> {
        match &self.request {
            Request::Renew(Renewal { owner, .. })
            | Request::Downgrade(Renewal { owner, .. })
            | Request::Proclaim { owner, .. }
            | Request::BeginRun { owner, .. } => Some(owner),
            _ => self.contender().map(|contender| &contender.id),
        }
    }

    /// Returns the fence whose rows the request needs, if it has one.
    pub(super) fn fence(&self) -> Option<u64> {
        match &self.request {
            Request::Break { fence, .. } => Some(*fence),
            _ => None,
        }
    }

    /// Returns whether the request needs the last run.
    pub(super) fn wants_run(&self) -> bool {
        matches!(
            self.request,
            Request::BeginRun { .. }
                | Request::FinishRun { .. }
                | Request::ForgetRun { .. }
                | Request::LastRun
        )
    }

    /// Returns whether the request only reads.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self.request, Request::Inspect | Request::LastRun)
    }

    /// Returns how long to wait before it starts again, of trips that took that long.
    pub(super) fn pause_before_repeat(&self, why: Again, trips: Duration) -> Duration {
        let acquires = matches!(self.request, Request::Acquire { .. });
        match why {
            Again::All => Duration::ZERO,
            // Waiters queue behind the hold, and polls continue.
            Again::Guarded if acquires && !self.is_guarded => Duration::ZERO,
            Again::Guarded => GUARDED_PAUSE,
            // A holder goes first: waiters have time, and are fewer after each success.
            Again::Changed => {
                let repeats = self.repeats + 1;
                let most = match self.request {
                    Request::Acquire { .. } | Request::TryAcquire(_) => 1 << repeats.min(3),
                    _ => u32::from(1 < repeats),
                };
                let most = (trips / 2 * most).min(LONGEST_PAUSE);
                most.mul_f64(rng::draw())
            }
        }
    }

    /// Notes that it starts again.
    pub(super) fn note_repeat(&mut self, why: Again) {
        self.repeats += 1;
        self.needs_all |= why == Again::All;
        self.is_guarded = why == Again::Guarded;
    }

    /// Returns the failure of a request that had to start again for too long.
    pub(super) fn failure(&self, why: Again) -> Failure {
        let detail = match (why, &self.guards) {
            (Again::Guarded, Some(guards)) => {
                format!("a transaction of {guards} guards the hold")
            }
            (Again::Guarded, None) => "a transaction guards the hold".to_owned(),
            _ => "other clients change the name all the time".to_owned(),
        };
        Failure::before_sending(FailureKind::Loading, detail)
    }

    /// Sends the reply, unless the caller was dropped.
    pub(super) fn answer(self, reply: Result<Envelope<Reply>, Failure>) {
        let _ = self.reply.send(reply);
    }
}
