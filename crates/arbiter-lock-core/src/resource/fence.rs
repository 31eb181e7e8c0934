//! Fencing tokens: `max(time in µs, last + 1)`, remembered for a minute and for as long as
//! they are ahead of the clock.

use super::rows::Rows;
use super::{Moment, Resource};

const MEMORY_MS: u64 = 60_000;

impl<R: Rows> Resource<R> {
    pub(super) fn draw_fence(&mut self, now: Moment) -> u64 {
        let root = self.root_mut();
        let remembered = now.as_millis() <= root.fence_until;
        let last = if remembered { root.last_fence } else { 0 };
        let fence = now.as_micros().max(last + 1);
        let ahead_ms = (fence - now.as_micros()).div_ceil(1_000);
        root.last_fence = fence;
        root.fence_until = now.last_milli(MEMORY_MS + ahead_ms);
        fence
    }
}
