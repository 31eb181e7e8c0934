//! Metrics, by the recorder of the crate `metrics` that the program has installed.
//!
//! A recorder is called in place, also by the keeper: its contract is to be quick and not to block.
//! It is never called under a lock, and its panics are caught, so that a failure of a recorder
//! cannot lose a hold. Without a recorder, nothing is allocated.

mod tables;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::Name;
use metrics::{Key, Label, Level, Metadata, Recorder, SharedString, with_recorder};

use crate::errors::error::Error;
use crate::events::event::seconds;
use crate::events::measurement::{ClientMeasurement, Measurement};
use crate::primitives::primitive::Primitive;
use crate::system::clock::Clock;
use crate::system::process::ForkGeneration;
pub(crate) use tables::describe;
use tables::{ACQUIRES, LOSSES, RENEWALS, call_labels, labels_in, primitive_labels};

static METADATA: Metadata<'static> = Metadata::new("arbiter_lock", Level::INFO, None);

type LabelOfName = dyn Fn(&str) -> Option<Cow<'static, str>> + Send + Sync;

/// Returns the label `name` of a resource.
#[derive(Clone, Default)]
pub(crate) struct NameLabel(Option<Arc<LabelOfName>>);

impl NameLabel {
    pub(crate) fn new(
        label: impl Fn(&str) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(label)))
    }

    /// Returns the series of a request. A label that panics counts as none.
    pub(crate) fn series(&self, primitive: Primitive, name: &Name) -> Series {
        let label = self.0.as_ref().and_then(|label| {
            let label = catch_unwind(AssertUnwindSafe(|| label(name.as_str())));
            label.ok().flatten()
        });
        Series {
            primitive,
            name: label.map(Arc::from),
        }
    }
}

/// The labels of the metrics of one request and its hold.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    primitive: Primitive,
    name: Option<Arc<str>>,
}

impl Series {
    pub(crate) fn record(&self, measurement: Measurement) {
        let of_primitive = || primitive_labels(self.primitive);
        match measurement {
            Measurement::HoldBegan => self.add("arbiter_held", 1.0),
            Measurement::HoldWithdrawn => self.add("arbiter_held", -1.0),
            Measurement::HoldEnded(held) => {
                self.add("arbiter_held", -1.0);
                measure(&self.key("arbiter_hold_seconds", of_primitive()), held);
            }
            Measurement::HandedOff => count(&self.key("arbiter_handoffs_total", of_primitive())),
            Measurement::Released => count(&self.key("arbiter_releases_total", of_primitive())),
            Measurement::Lost(reason) => {
                let labels = labels_in(&LOSSES, self.primitive, reason.word());
                count(&self.key("arbiter_losses_total", labels));
            }
            Measurement::Renewed => self.count_renewal("renewed"),
            Measurement::NotRenewed => self.count_renewal("refused"),
            Measurement::RenewalFailed => self.count_renewal("failed"),
        }
    }

    fn count_renewal(&self, outcome: &'static str) {
        let labels = labels_in(&RENEWALS, self.primitive, outcome);
        count(&self.key("arbiter_renewals_total", labels));
    }

    /// Adds to a gauge.
    fn add(&self, name: &'static str, change: f64) {
        let key = self.key(name, primitive_labels(self.primitive));
        quietly(|recorder| recorder.register_gauge(&key, &METADATA).increment(change));
    }

    /// Allocates only if there is a label `name`.
    fn key(&self, name: &'static str, labels: &'static [Label]) -> Key {
        let Some(label) = &self.name else {
            return Key::from_static_parts(name, labels);
        };
        let label = Label::new("name", SharedString::from_shared(label.clone()));
        let labels: Vec<Label> = labels.iter().cloned().chain([label]).collect();
        Key::from_parts(name, labels)
    }
}

/// Counts an acquire as waiting until it ends. If it is dropped before, it counts as dropped.
pub(crate) struct AcquireInProgress {
    series: Series,
    clock: Clock,
    process: ForkGeneration,
    begun: Duration,
    outcome: &'static str,
}

impl AcquireInProgress {
    pub(crate) fn begin(series: &Series, clock: &Clock, process: &ForkGeneration) -> Self {
        series.add("arbiter_waiting", 1.0);
        Self {
            series: series.clone(),
            begun: clock.now(),
            clock: clock.clone(),
            process: process.clone(),
            outcome: "dropped",
        }
    }

    pub(crate) fn end<T>(mut self, acquired: &Result<T, Error>) {
        self.outcome = match acquired {
            Ok(_) => "granted",
            Err(error) => error.word(),
        };
    }
}

impl Drop for AcquireInProgress {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return;
        }
        let series = &self.series;
        series.add("arbiter_waiting", -1.0);
        let labels = labels_in(&ACQUIRES, series.primitive, self.outcome);
        count(&series.key("arbiter_acquires_total", labels));
        let waited = self.clock.now().saturating_sub(self.begun);
        measure(&series.key("arbiter_wait_seconds", labels), waited);
    }
}

pub(crate) fn record(measurement: ClientMeasurement) {
    let name = match measurement {
        ClientMeasurement::RenewalCall { took, is_answered } => {
            let outcome = if is_answered { "answered" } else { "failed" };
            let key = Key::from_static_parts("arbiter_renewal_seconds", call_labels(outcome));
            return measure(&key, took);
        }
        ClientMeasurement::LeftBehind => "arbiter_left_behind_total",
        ClientMeasurement::Disconnected => "arbiter_disconnects_total",
        ClientMeasurement::Reconnected => "arbiter_reconnects_total",
        ClientMeasurement::EventDropped => "arbiter_events_dropped_total",
    };
    count(&Key::from_static_name(name));
}

fn count(key: &Key) {
    quietly(|recorder| recorder.register_counter(key, &METADATA).increment(1));
}

fn measure(key: &Key, time: Duration) {
    quietly(|recorder| {
        let histogram = recorder.register_histogram(key, &METADATA);
        histogram.record(seconds(time));
    });
}

/// Calls the recorder. A panic is ignored.
fn quietly(call: impl FnOnce(&dyn Recorder)) {
    let _ = catch_unwind(AssertUnwindSafe(|| with_recorder(call)));
}
