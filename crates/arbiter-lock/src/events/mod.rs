//! Events: reports of the library's work.

pub(crate) mod event;
pub(crate) mod measurement;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
pub(crate) mod metrics;
pub(crate) mod outage;
pub(crate) mod report;
pub(crate) mod tracing_logger;
