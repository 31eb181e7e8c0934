//! Reports of steps that are both counted and logged. They count even if the logger wants no event.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Name;

use crate::errors::error::Loss;
use crate::errors::failure::Failure;
use crate::events::event::{Event, EventQueue, Level};
use crate::events::measurement::{ClientMeasurement, Measurement};
use crate::events::metrics::{self, Series};

/// The parts of a hold that reports show.
#[derive(Clone, Copy)]
pub(crate) struct HoldReport<'a> {
    pub(crate) name: &'a Name,
    pub(crate) owner: &'a Arc<str>,
    pub(crate) fence: u64,
    pub(crate) series: &'a Series,
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
        hold.series.record(Measurement::Renewed);
        self.emit(Level::Debug, || Event::Renewed {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
        });
    }

    /// Reports that a renewal has no known outcome.
    pub(crate) fn renewal_failed(&self, hold: HoldReport<'_>, cause: &Failure) {
        hold.series.record(Measurement::RenewalFailed);
        self.emit(Level::Warn, || Event::RenewalFailed {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            cause: Arc::new(cause.clone()),
        });
    }

    /// Reports that a hold was released.
    pub(crate) fn released(&self, hold: HoldReport<'_>, held: Duration) {
        hold.series.record(Measurement::Released);
        self.emit(Level::Debug, || Event::Released {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            held,
        });
    }

    /// Reports that a hold stays in the store without a process. For this client it was released.
    pub(crate) fn detached(&self, hold: HoldReport<'_>, held: Duration, to: Arc<str>) {
        hold.series.record(Measurement::Released);
        self.emit(Level::Debug, || Event::Detached {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            to,
            held,
        });
    }

    /// Reports that a hold was lost.
    pub(crate) fn lost(&self, hold: HoldReport<'_>, held: Duration, loss: &Loss) {
        hold.series.record(Measurement::Lost(loss.reason));
        self.emit(Level::Error, || Event::Lost {
            name: hold.name.into(),
            fence: hold.fence,
            owner: hold.owner.clone(),
            held,
            reason: loss.reason,
            cause: loss.failure.clone().map(|failure| Arc::new(failure) as _),
        });
    }

    /// Reports that a request was left to expire.
    pub(crate) fn left_behind(&self, name: &Name, cause: Failure) {
        metrics::record(ClientMeasurement::LeftBehind);
        self.emit(Level::Error, || Event::LeftBehind {
            name: name.into(),
            cause: Arc::new(cause),
        });
    }

    /// Reports that a connection was lost.
    #[cfg_attr(
        not(any(feature = "redis", feature = "postgres")),
        expect(dead_code, reason = "other stores have no connections")
    )]
    pub(crate) fn disconnected(&self, store: &impl ToString, cause: &Failure) {
        metrics::record(ClientMeasurement::Disconnected);
        self.emit(Level::Warn, || Event::Disconnected {
            store: store.to_string().into(),
            cause: Arc::new(cause.clone()),
        });
    }

    /// Reports that a lost connection was replaced.
    #[cfg_attr(
        not(any(feature = "redis", feature = "postgres")),
        expect(dead_code, reason = "other stores have no connections")
    )]
    pub(crate) fn reconnected(&self, store: &impl ToString) {
        metrics::record(ClientMeasurement::Reconnected);
        self.emit(Level::Info, || Event::Reconnected {
            store: store.to_string().into(),
        });
    }
}
