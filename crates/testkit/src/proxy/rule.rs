//! What is to happen to which request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::monitor::Monitor;

/// What happens to a request that a [`Rule`] meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is executed, but its reply and everything after it on this connection is lost. The
    /// connection stays open and goes on to carry requests: replies come in order, so one alone
    /// can be missing on no network.
    LoseReply,
    /// It is executed; its reply comes so much later, and what follows on the connection after it.
    DelayReply(Duration),
    /// It reaches the server after [`Rule::release`], even if its client has gone, and what
    /// follows on the connection after it.
    HoldRequest,
    /// The connection is cut, and the request is not executed.
    CutBefore,
    /// It is executed; instead of the reply the connection is cut.
    CutAfter,
    /// It is executed twice in a row; the client hears the first reply.
    Duplicate,
}

/// A rule of a [`super::Proxy`], which stands until the proxy ends.
#[derive(Clone, Debug)]
pub struct Rule(Arc<Inner>);

type Predicate = Box<dyn Fn(&[Vec<u8>]) -> bool + Send + Sync>;

struct Inner {
    matches: Predicate,
    /// The match that it acts on; none for each.
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

    /// How many requests have matched.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.0.state.read(|state| state.met)
    }

    /// How often it has acted.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.0.state.read(|state| state.fired)
    }

    /// Waits until it has acted; answers whether it has, within the limit. Blocks the thread: in
    /// async code, poll [`Rule::fired`].
    #[must_use]
    pub fn wait_fired(&self, limit: Duration) -> bool {
        self.0.state.wait_at_most(limit, |state| 0 < state.fired)
    }

    /// Lets requests go that it holds, now and later.
    pub fn release(&self) {
        self.0.state.change(|state| state.is_released = true);
    }

    /// Counts a request, and answers what is to happen to it if it is this rule's turn.
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

    /// Holds a request back; answers whether it may still be sent.
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
