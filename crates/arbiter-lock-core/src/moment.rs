//! A moment of the store's clock. The core never reads a clock: every step takes the time.

/// A moment of the store's clock: microseconds since the Unix epoch, below 2^53.
///
/// TTLs are counted in whole milliseconds, as on the server: a TTL of `n` ms that is
/// set within millisecond `m` ends with the end of millisecond `m + n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Creates the moment `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the whole milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns the last millisecond of a TTL of `ttl_ms` that begins now.
    pub(crate) const fn last_milli(self, ttl_ms: u64) -> u64 {
        self.as_millis().saturating_add(ttl_ms)
    }

    /// Returns the microseconds since `earlier`; zero if the clock stepped back.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
