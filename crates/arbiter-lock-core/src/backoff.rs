//! Backoff after a failure.

use std::time::Duration;

/// Waits that double from a minimum to a maximum, each with full jitter over its upper half.
///
/// The caller supplies the randomness, so that a seed replays exactly.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let mut backoff = arbiter_lock_core::Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
/// assert_eq!(backoff.next(u32::MAX), Duration::from_millis(10));
/// assert_eq!(backoff.next(0), Duration::from_millis(10)); // half of 20 ms
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    least: Duration,
    most: Duration,
    step: Duration,
}

impl Backoff {
    /// Creates a backoff with waits from `least` to `most`.
    #[must_use]
    pub fn new(least: Duration, most: Duration) -> Self {
        Self {
            least,
            most,
            step: least,
        }
    }

    /// Returns the next wait; `random` is uniform over all of `u32`.
    pub fn next(&mut self, random: u32) -> Duration {
        let step = self.step;
        self.step = step.saturating_mul(2).min(self.most);
        let half = step / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Starts again from the shortest wait, after a success.
    pub fn reset(&mut self) {
        self.step = self.least;
    }
}
