//! Replaces metrics without the feature `metrics`, and does nothing.

use arbiter_lock_core::Name;

pub(crate) use self::{
    Unmeasured as AcquireInProgress, Unmeasured as NameLabel, Unmeasured as Series,
};
use crate::errors::error::Error;
use crate::events::measurement::{ClientMeasurement, Measurement};
use crate::primitives::primitive::Primitive;
use crate::system::clock::Clock;
use crate::system::process::ForkGeneration;

/// Takes the place of every type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unmeasured(());

impl Unmeasured {
    pub(crate) fn series(&self, _: Primitive, _: &Name) -> Self {
        self.clone()
    }

    pub(crate) fn record(&self, _: Measurement) {}

    pub(crate) fn begin(series: &Self, _: &Clock, _: &ForkGeneration) -> Self {
        series.clone()
    }

    pub(crate) fn end<T>(self, _: &Result<T, Error>) {}
}

pub(crate) fn record(_: ClientMeasurement) {}

pub(crate) fn describe() {}
