//! Fencing tokens: `max(time in µs, last + 1)`. The last is remembered to the end of the ten
//! seconds in which it lies, and for a minute more.

use super::rows::Rows;
use super::{Moment, Resource};

const TEN_SECONDS_US: u64 = 10_000_000;
const TEN_SECONDS_MS: u64 = 10_000;
/// Those of its own end, and six more.
const MEMORY: u64 = 7;

impl<R: Rows> Resource<R> {
    pub(super) fn draw_fence(&mut self, now: Moment) -> u64 {
        let root = self.root_mut();
        let remembered = now.as_millis() <= root.fence_until;
        let last = if remembered { root.last_fence } else { 0 };
        let fence = now.as_micros().max(last + 1);
        root.last_fence = fence;
        root.fence_until = (fence / TEN_SECONDS_US + MEMORY) * TEN_SECONDS_MS;
        fence
    }
}
