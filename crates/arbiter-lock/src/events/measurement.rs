//! The counts and measurements, if the feature `metrics` is on.

use std::time::Duration;

use crate::errors::lost_reason::LostReason;

/// A step of one hold.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "it is ignored"))]
pub(crate) enum Measurement {
    /// The keeper has the hold.
    HoldBegan,
    /// The caller never got the hold.
    HoldWithdrawn,
    /// The hold was released or lost, after that time.
    HoldEnded(Duration),
    /// A grant was delivered as a message.
    HandedOff,
    /// The store has confirmed the release.
    Released,
    Lost(LostReason),
    Renewed,
    /// The store answered that the hold is over, or has to end.
    NotRenewed,
    /// A renewal has no known outcome.
    RenewalFailed,
}

/// A step of a client.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "it is ignored"))]
pub(crate) enum ClientMeasurement {
    /// A call that renews holds was answered, or failed.
    RenewalCall {
        took: Duration,
        is_answered: bool,
    },
    LeftBehind,
    Disconnected,
    Reconnected,
    EventDropped,
}
