//! The durations and numbers of the measurements.

use std::time::Duration;

pub(crate) struct Scale {
    pub(crate) is_quick: bool,
    pub(crate) cycles_ms: u64,
    pub(crate) hand_offs: usize,
    /// The limit of all hand-offs of a library, with its restarts after one that hangs.
    pub(crate) hand_offs_limit: Duration,
    pub(crate) crowd_ms: u64,
    /// Both windows lie within the time after which a holder renews a lease of 30 s.
    pub(crate) idle: Duration,
    /// The numbers of simultaneous holds, each with its measures.
    pub(crate) holds: [usize; 4],
    pub(crate) renewals: Duration,
    pub(crate) waiters: [usize; 3],
    pub(crate) releases: usize,
    pub(crate) idle_waiters: usize,
    pub(crate) idle_waiters_for: Duration,
    pub(crate) names: usize,
    /// The time after which a name used once is forgotten: on a server, and in a file.
    pub(crate) forgotten_after: [Duration; 2],
    pub(crate) commands: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        is_quick: false,
        cycles_ms: 1_500,
        hand_offs: 200,
        hand_offs_limit: Duration::from_secs(8),
        crowd_ms: 2_000,
        idle: Duration::from_millis(4_400),
        holds: [1, 100, 10_000, 100_000],
        renewals: Duration::from_secs(40),
        waiters: [1, 100, 10_000],
        releases: 200,
        idle_waiters: 1_000,
        idle_waiters_for: Duration::from_secs(10),
        names: 1_000_000,
        forgotten_after: [Duration::from_secs(65), Duration::from_secs(90)],
        commands: 100,
    };

    pub(crate) const QUICK: Self = Self {
        is_quick: true,
        cycles_ms: 400,
        hand_offs: 50,
        hand_offs_limit: Duration::from_secs(2),
        crowd_ms: 500,
        idle: Duration::from_millis(2_400),
        holds: [1, 100, 1_000, 10_000],
        renewals: Duration::from_secs(12),
        waiters: [1, 100, 1_000],
        releases: 100,
        idle_waiters: 100,
        idle_waiters_for: Duration::from_secs(3),
        names: 20_000,
        forgotten_after: [Duration::from_secs(65), Duration::from_secs(1)],
        commands: 20,
    };
}
