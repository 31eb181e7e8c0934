//! Fencing tokens: `max(time in µs, last + 1)`, remembered for a minute and for as long as
//! they are ahead of the clock.

use super::Moment;

const MEMORY_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastFence {
    fence: u64,
    last_milli: u64,
}

impl LastFence {
    pub(super) fn draw(&mut self, now: Moment) -> u64 {
        let last = if self.is_forgotten(now) {
            0
        } else {
            self.fence
        };
        let fence = now.as_micros().max(last + 1);
        let ahead_ms = (fence - now.as_micros()).div_ceil(1_000);
        *self = Self {
            fence,
            last_milli: now.last_milli(MEMORY_MS + ahead_ms),
        };
        fence
    }

    pub(super) fn is_forgotten(self, now: Moment) -> bool {
        self.last_milli < now.as_millis()
    }
}
