//! The selected row, and the rows that are visible.

/// The position in rows of which a part is visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The selected row.
    pub(super) at: usize,
    /// The first visible row.
    pub(super) first: usize,
}

/// A move of the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movement {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

impl Cursor {
    /// Moves the selection. A page is the height of the window, less a row.
    pub(super) fn step(&mut self, movement: Movement, height: usize) {
        let page = height.saturating_sub(1).max(1);
        self.at = match movement {
            Movement::Up => self.at.saturating_sub(1),
            Movement::Down => self.at.saturating_add(1),
            Movement::PageUp => self.at.saturating_sub(page),
            Movement::PageDown => self.at.saturating_add(page),
            Movement::Home => 0,
            Movement::End => usize::MAX,
        };
    }

    /// Keeps the selection among `count` rows, and visible in a window of that height.
    pub(super) fn settle(&mut self, count: usize, height: usize) {
        self.at = self.at.min(count.saturating_sub(1));
        let height = height.max(1);
        let last = count.saturating_sub(height);
        self.first = self
            .first
            .min(last)
            .clamp((self.at + 1).saturating_sub(height), self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_stays_visible_in_any_window() {
        let movements = [
            Movement::Down,
            Movement::PageDown,
            Movement::End,
            Movement::Up,
            Movement::PageUp,
            Movement::Home,
        ];
        let mut cursor = Cursor::default();
        for count in [0, 1, 2, 30, 5] {
            for height in [0, 1, 7, 100] {
                for movement in movements {
                    cursor.step(movement, height);
                    cursor.settle(count, height);
                    let visible = cursor.first..cursor.first + height.max(1);
                    assert!(visible.contains(&cursor.at), "{cursor:?}");
                    assert!(cursor.at < count.max(1), "{cursor:?}");
                }
            }
        }
    }
}
