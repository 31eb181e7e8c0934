//! A moment of the store's clock. The core never reads a clock: every step is told the time.

/// A moment of the store's clock: microseconds since the Unix epoch, below 2^53.
///
/// Lives are counted in whole milliseconds, as the server does it: a life of `n` ms that is
/// set within millisecond `m` ends with the end of millisecond `m + n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment that many microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The last millisecond of a life of `ttl_ms` that begins now.
    pub(crate) const fn last_milli(self, ttl_ms: u64) -> u64 {
        self.as_millis().saturating_add(ttl_ms)
    }

    /// Microseconds from `earlier` to here; zero where the clock stepped back.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
