//! The details of one lock: the lines of `arbiter status`, with the holds to select.

use std::time::Instant;

use arbiter_lock::Printable;

use super::cursor::{Cursor, Movement};
use super::text::wrapped;
use crate::commands::r#break::ShownHold;
use crate::commands::status::StatusLine;

/// The lock that is shown.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) name: String,
    /// When it was read.
    pub(super) read: Option<Instant>,
    lines: Vec<StatusLine>,
    /// The lines as broken for the width, each with the index of its line.
    wrapped: Vec<(String, usize)>,
    pub(super) cursor: Cursor,
}

impl Details {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            read: None,
            lines: Vec::new(),
            wrapped: Vec::new(),
            cursor: Cursor::default(),
        }
    }

    /// Replaces the lines. The selection stays at its hold.
    pub(super) fn update(&mut self, lines: Vec<StatusLine>, read: Instant, width: usize) {
        let selected = self.selected_line().and_then(|line| line.hold.clone());
        (self.lines, self.read) = (lines, Some(read));
        self.wrap(width);
        let is_same = |shown: &(String, usize)| {
            let hold = self.lines.get(shown.1).and_then(|line| line.hold.as_ref());
            hold.is_some_and(|hold| Some(&hold.hold) == selected.as_ref().map(|s| &s.hold))
        };
        let at = self.wrapped.iter().position(is_same);
        let stays = self.wrapped.get(self.cursor.at).is_some_and(is_same);
        if let Some(at) = at.filter(|_| !stays) {
            self.cursor.at = at;
        }
    }

    /// Breaks the lines for that width.
    pub(super) fn wrap(&mut self, width: usize) {
        let lines = self.lines.iter().enumerate();
        self.wrapped = lines
            .flat_map(|(index, line)| {
                let text = Printable(&line.text).to_string();
                wrapped(&text, width).into_iter().map(move |t| (t, index))
            })
            .collect();
    }

    pub(super) fn settle(&mut self, height: usize) {
        self.cursor.settle(self.wrapped.len(), height);
    }

    pub(super) fn step(&mut self, movement: Movement, height: usize) {
        self.cursor.step(movement, height);
    }

    /// Returns the visible lines, and which of them are of the selected one.
    pub(super) fn visible(&self, height: usize) -> impl Iterator<Item = (&str, bool)> {
        let selected = self.wrapped.get(self.cursor.at).map(|(_, line)| *line);
        let shown = self.wrapped.iter().skip(self.cursor.first).take(height);
        shown.map(move |(text, line)| (text.as_str(), Some(*line) == selected))
    }

    /// Returns the selected hold, or the only one.
    pub(super) fn hold(&self) -> Option<&ShownHold> {
        let selected = self.selected_line().and_then(|line| line.hold.as_ref());
        selected.or_else(|| {
            let mut holds = self.lines.iter().filter_map(|line| line.hold.as_ref());
            let first = holds.next()?;
            holds.all(|hold| hold.hold == first.hold).then_some(first)
        })
    }

    /// Returns whether a line shows a hold.
    pub(super) fn is_held(&self) -> bool {
        self.lines.iter().any(|line| line.hold.is_some())
    }

    fn selected_line(&self) -> Option<&StatusLine> {
        let (_, line) = self.wrapped.get(self.cursor.at)?;
        self.lines.get(*line)
    }
}
