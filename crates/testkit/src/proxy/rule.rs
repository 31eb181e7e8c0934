//! Rules that inject faults into requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::monitor::Monitor;

/// The fault that a [`Rule`] injects into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is executed, but its reply and all later replies on this connection are lost. The
    /// connection stays open and forwards requests. Replies come in order, so no network can lose a
    /// single one.
    LoseReply,
    /// It is executed. Its reply, and all later ones on the connection, are delayed by that long.
    DelayReply(Duration),
    /// It reaches the server after [`Rule::release`], even if its client has closed, and so do
    /// later requests of the connection.
    HoldRequest,
    /// The connection is cut, and the request is not executed.
    CutBefore,
    /// It is executed, and the connection is cut instead of the reply.
    CutAfter,
    /// It is executed twice in a row. The client receives the first reply.
    Duplicate,
}

/// A rule of a [`super::Proxy`], which lasts until the proxy ends.
#[derive(Clone, Debug)]
pub struct Rule(Arc<Inner>);

type Predicate = Box<dyn Fn(&[Vec<u8>]) -> bool + Send + Sync>;

struct Inner {
    matches: Predicate,
    /// The match that the rule applies to; none for every match.
    nth: Option<u64>,
    fault: Fault,
    state: Monitor<State>,
}

#[derive(Default)]
struct State {
    met: u64,
    fired: u64,
    is_released: bool,
    is_over: bool,
}

impl Rule {
    pub(super) fn new(
        nth: Option<u64>,
        fault: Fault,
        matches: impl Fn(&[Vec<u8>]) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            matches: Box::new(matches),
            nth,
            fault,
            state: Monitor::default(),
        }))
    }

    /// Returns how many requests have matched.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.0.state.read(|state| state.met)
    }

    /// Returns how often it has applied.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.0.state.read(|state| state.fired)
    }

    /// Waits until it has applied, and returns whether it has within the limit. This blocks the
    /// thread: in async code, poll [`Rule::fired`].
    #[must_use]
    pub fn wait_fired(&self, limit: Duration) -> bool {
        self.0.state.wait_at_most(limit, |state| 0 < state.fired)
    }

    /// Releases held requests, now and later.
    pub fn release(&self) {
        self.0.state.change(|state| state.is_released = true);
    }

    /// Counts a request, and returns its fault if the rule applies.
    pub(super) fn meet(&self, args: &[Vec<u8>]) -> Option<Fault> {
        if !(self.0.matches)(args) {
            return None;
        }
        self.0.state.change(|state| {
            state.met += 1;
            let acts = self.0.nth.is_none_or(|nth| nth == state.met);
            state.fired += u64::from(acts);
            acts.then_some(self.0.fault)
        })
    }

    /// Holds a request, and returns whether it may still be sent.
    pub(super) fn hold(&self) -> bool {
        let state = &self.0.state;
        state.wait(|state| state.is_released || state.is_over);
        state.read(|state| !state.is_over)
    }

    pub(super) fn end(&self) {
        self.0.state.change(|state| state.is_over = true);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("nth", &self.nth)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
