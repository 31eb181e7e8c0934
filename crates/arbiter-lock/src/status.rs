//! What can be seen of a resource: who holds it, and who waits.

use std::time::Duration;

use arbiter_lock_core::{HolderView, Moment};

use crate::label::Label;

/// What can be seen of a resource, at one moment of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Who holds; nobody where it is free.
    pub holder: Option<Holder>,
    /// How many wait. One who died is counted until somebody passes it over.
    pub waiting: u64,
    /// The first hundred of those who wait, in order.
    pub waiters: Vec<Waiter>,
}

/// Who holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The owner that stands in the store.
    pub owner: String,
    /// The fencing token; a holder of the Go library has none.
    pub fence: Option<u64>,
    /// For how long it has held, where known.
    pub held: Option<Duration>,
    /// How long the hold lasts without renewal; `None` where somebody made it immortal.
    pub remaining: Option<Duration>,
    /// Who it is.
    pub label: Label,
}

/// Who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiter {
    /// Its place, from 1.
    pub place: u64,
    /// For how long it has waited.
    pub waited: Duration,
    /// Who it is.
    pub label: Label,
}

impl Status {
    pub(crate) fn new(status: &arbiter_lock_core::Status, at: Moment) -> Self {
        let waiter = |(place, view): (u64, &arbiter_lock_core::WaiterView)| Waiter {
            place,
            waited: since(at, view.ticket),
            label: Label::from_line(&view.label),
        };
        Self {
            holder: status.holder.as_ref().map(|view| Holder::new(view, at)),
            waiting: status.waiting,
            waiters: (1..).zip(&status.waiters).map(waiter).collect(),
        }
    }

    /// Whether anybody holds.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder.is_some()
    }
}

impl Holder {
    pub(crate) fn new(view: &HolderView, at: Moment) -> Self {
        Self {
            owner: view.owner.to_string(),
            fence: view.fence,
            held: view.since.map(|moment| since(at, moment.as_micros())),
            remaining: view.remaining_ms.map(Duration::from_millis),
            label: Label::from_line(&view.label),
        }
    }
}

fn since(at: Moment, micros: u64) -> Duration {
    Duration::from_micros(at.as_micros().saturating_sub(micros))
}
