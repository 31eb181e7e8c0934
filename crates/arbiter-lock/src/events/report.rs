//! Reports of the steps of a hold: events of one hold.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Name;

use crate::errors::error::Loss;
use crate::errors::failure::Failure;
use crate::events::event::{Event, EventQueue, Level};

/// The parts of a hold that reports show.
#[derive(Clone, Copy)]
pub(crate) struct HoldReport<'a> {
    pub(crate) name: &'a Name,
    pub(crate) owner: &'a Arc<str>,
    pub(crate) fence: u64,
}

impl EventQueue {
    /// Reports that a request was granted.
    pub(crate) fn acquired(&self, hold: HoldReport<'_>, waited: Duration) {
        self.emit(Level::Debug, || Event::Acquired {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            waited,
        });
    }

    /// Reports that a hold was renewed.
    pub(crate) fn renewed(&self, hold: HoldReport<'_>) {
        self.emit(Level::Debug, || Event::Renewed {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
        });
    }

    /// Reports that a renewal has no known outcome.
    pub(crate) fn renewal_failed(&self, hold: HoldReport<'_>, cause: &Failure) {
        self.emit(Level::Warn, || Event::RenewalFailed {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            cause: Arc::new(cause.clone()),
        });
    }

    /// Reports that a hold was released.
    pub(crate) fn released(&self, hold: HoldReport<'_>, held: Duration) {
        self.emit(Level::Debug, || Event::Released {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            held,
        });
    }

    /// Reports that a hold was lost.
    pub(crate) fn lost(&self, hold: HoldReport<'_>, held: Duration, loss: &Loss) {
        self.emit(Level::Error, || Event::Lost {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            held,
            reason: loss.reason,
            cause: loss.failure.clone().map(|failure| Arc::new(failure) as _),
        });
    }
}
