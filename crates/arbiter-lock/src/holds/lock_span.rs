//! The `tracing` span of one acquire and its hold.
//!
//! A subscriber is called in place, so a span is made, recorded and closed only where the caller
//! polls a future or drops a guard: never on the keeper's thread, never under a lock, and never in
//! a forked process. A subscriber that blocks delays that caller only. Its panics are caught, since
//! the drop of a guard must not panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Name;
use tracing::Span;
use tracing::field::Empty;

use crate::engine::Engine;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::events::event::seconds;
use crate::holds::guard::Guard;
use crate::holds::hold::HoldState;
use crate::primitives::primitive::Primitive;
use crate::system::clock::Clock;
use crate::system::process::LeakInChild;

/// A span that is closed when this is dropped. Empty if no subscriber wants it.
#[derive(Default)]
pub(crate) struct LockSpan(Option<Box<LeakInChild<OpenSpan>>>);

struct OpenSpan {
    span: Span,
    clock: Clock,
    /// When the acquire began, or was granted.
    since: Duration,
    /// The hold, once it is granted.
    hold: Option<Arc<HoldState>>,
}

impl LockSpan {
    /// Opens the span of an acquire, as a child of the caller's span.
    ///
    /// On the client's own thread there is no span, since the caller's is not known there.
    pub(crate) fn begin(inner: &Engine, name: &Name, primitive: Primitive) -> Self {
        if inner.check_process().is_err() || inner.is_own_thread() {
            return Self::default();
        }
        let open = || {
            tracing::info_span!(
                target: "arbiter_lock",
                "lock",
                name = name.as_str(),
                primitive = primitive.word(),
                fence = Empty,
                owner = Empty,
                waited = Empty,
                held = Empty,
                outcome = Empty,
                reason = Empty,
            )
        };
        let span = catch_unwind(AssertUnwindSafe(open)).unwrap_or(Span::none());
        if span.is_disabled() {
            return Self::default();
        }
        let clock = inner.clock.clone();
        let open = OpenSpan {
            span,
            since: clock.now(),
            clock,
            hold: None,
        };
        Self(Some(Box::new(LeakInChild::of(inner.process(), open))))
    }

    /// Ends the acquire. If it was granted, the span stays open until the guard ends.
    pub(crate) fn enclose(mut self, acquired: Result<Guard, Error>) -> Result<Guard, Error> {
        match &acquired {
            Ok(guard) => {
                let state = guard.hold().state.clone();
                let open = self.0.as_mut().and_then(|open| open.unless_forked_mut());
                if let Some(open) = open {
                    open.granted(state);
                }
            }
            Err(error) => self.close(error.word(), None),
        }
        acquired.map(|guard| guard.with_span(self))
    }

    /// Closes the span after a release.
    pub(crate) fn end<T>(mut self, released: &Result<T, Error>) {
        match released {
            Ok(_) => self.close("released", None),
            Err(Error::Lost(loss)) => self.close("lost", Some(loss.reason)),
            Err(_) => self.close("unconfirmed", None),
        }
    }

    fn close(&mut self, outcome: &'static str, reason: Option<LostReason>) {
        let Some(open) = self.0.take() else {
            return;
        };
        if let Some(open) = open.unless_forked() {
            open.record_end(outcome, reason);
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
    }
}

impl Drop for LockSpan {
    fn drop(&mut self) {
        let Some(open) = self.0.as_ref().and_then(|open| open.unless_forked()) else {
            return; // if this process was forked, the span is leaked
        };
        let over = open.hold.as_ref().map(|hold| hold.over());
        match over {
            None => self.close("dropped", None),
            Some(None | Some(LostReason::Released)) => self.close("released", None),
            Some(reason) => self.close("lost", reason),
        }
    }
}

impl OpenSpan {
    fn granted(&mut self, hold: Arc<HoldState>) {
        let now = self.clock.now();
        let waited = now.saturating_sub(std::mem::replace(&mut self.since, now));
        self.record(|span| {
            span.record("fence", hold.fence);
            span.record("owner", &*hold.contender.id);
            span.record("waited", seconds(waited));
        });
        self.hold = Some(hold);
    }

    fn record_end(&self, outcome: &'static str, reason: Option<LostReason>) {
        self.record(|span| {
            match &self.hold {
                Some(hold) => span.record("held", seconds(hold.held_since(self.since))),
                None => {
                    let waited = self.clock.now().saturating_sub(self.since);
                    span.record("waited", seconds(waited))
                }
            };
            span.record("outcome", outcome);
            if let Some(reason) = reason {
                span.record("reason", reason.word());
            }
        });
    }

    fn record(&self, record: impl FnOnce(&Span)) {
        let _ = catch_unwind(AssertUnwindSafe(|| record(&self.span)));
    }
}
