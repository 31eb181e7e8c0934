//! Events: reports of the library's work.

pub(crate) mod event;
pub(crate) mod outage;
pub(crate) mod report;
pub(crate) mod tracing_logger;
