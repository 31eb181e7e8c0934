//! Fencing tokens: `max(time in µs, last + 1)`. The last one is remembered to the end of its
//! second, and for a minute more.

use super::rows::Rows;
use super::{Moment, Resource};

/// In seconds: the second of the fence itself, and a minute.
const MEMORY: u64 = 61;

impl<R: Rows> Resource<R> {
    pub(super) fn draw_fence(&mut self, now: Moment) -> u64 {
        let root = self.root_mut();
        let remembered = now.as_millis() <= root.fence_until;
        let last = if remembered { root.last_fence } else { 0 };
        let fence = now.as_micros().max(last + 1);
        root.last_fence = fence;
        root.fence_until = (fence / 1_000_000 + MEMORY) * 1_000;
        fence
    }
}
