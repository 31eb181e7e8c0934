//! The state of the view, and how keys and answers of the store change it. No I/O.

use std::time::Instant;

use arbiter_lock::Printable;

use super::cursor::{Cursor, Movement};
use super::details::Details;
use super::keys::Key;
use super::layout::Layout;
use super::reading::{Reading, TopRow};
use super::text::wrapped;
use crate::cli::SortKey;
use crate::commands::r#break::{Manner, ShownHold};
use crate::commands::status::StatusLine;

/// An event: a key, or an answer of the store.
#[derive(Debug)]
pub(super) enum Input {
    Key(Key),
    /// The locks are being read.
    Listing,
    /// The rows that were read so far.
    SoFar(Reading),
    Listed(Result<Reading, String>),
    /// The lock of that name was read.
    Inspected(String, Result<Vec<StatusLine>, String>),
    /// The outcome of a break, or another message to show.
    Outcome(String),
}

/// The consequence of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    Suspend,
    /// Read the locks, or the lock of the details, now.
    Refresh,
    /// Read the locks from the beginning, with another filter or order.
    Restart,
    Break(Confirmation, Manner),
}

/// A hold that is broken once that is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    pub(super) name: String,
    pub(super) hold: ShownHold,
}

/// The lines in place of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    Confirm(Confirmation),
}

/// The state of the view.
pub(super) struct View {
    /// The store and the pattern, for the title.
    pub(super) title: String,
    pub(super) sort: SortKey,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// The last locks that were read.
    pub(super) reading: Option<Reading>,
    /// When the present list of the locks began.
    pub(super) listing: Option<Instant>,
    /// How many locks it has read so far.
    pub(super) so_far: u64,
    /// The store's last answer, if that was an error.
    pub(super) failure: Option<String>,
    /// The outcome of the last key.
    pub(super) message: Option<String>,
    pub(super) details: Option<Details>,
    pub(super) overlay: Option<Overlay>,
    /// Whether the overlay was drawn. Keys that were typed before answer no question.
    pub(super) is_overlay_drawn: bool,
    pub(super) cursor: Cursor,
    pub(super) layout: Layout,
    /// The selected name; `None` stays at the first row.
    selected: Option<String>,
    /// The indices of the rows that the filter selects.
    shown: Vec<usize>,
}

impl View {
    pub(super) fn new(title: String, sort: SortKey) -> Self {
        Self {
            title,
            sort,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            reading: None,
            listing: None,
            so_far: 0,
            failure: None,
            message: None,
            details: None,
            overlay: None,
            is_overlay_drawn: false,
            cursor: Cursor::default(),
            layout: Layout::default(),
            selected: None,
            shown: Vec::new(),
        }
    }

    /// Applies an event.
    pub(super) fn apply(&mut self, input: Input, now: Instant) -> Action {
        let action = match input {
            Input::Key(key) => self.key(&key),
            Input::Listing => {
                (self.listing, self.so_far) = (Some(now), 0);
                Action::Nothing
            }
            Input::SoFar(reading) => {
                self.so_far = reading.totals.locks;
                // An older whole reading shows more.
                if self.reading.as_ref().is_none_or(|known| !known.is_whole) {
                    self.listed(Ok(reading));
                }
                Action::Nothing
            }
            Input::Listed(listed) => {
                (self.listing, self.so_far) = (None, 0);
                self.listed(listed);
                Action::Nothing
            }
            Input::Inspected(name, lines) => {
                self.inspected(&name, lines, now);
                Action::Nothing
            }
            Input::Outcome(message) => {
                self.message = Some(message);
                Action::Refresh
            }
        };
        self.settle();
        action
    }

    /// Adapts to the size of the terminal.
    pub(super) fn resize(&mut self, width: u16, height: u16) {
        if (self.layout.width, self.layout.height) != (width, height)
            && let Some(details) = &mut self.details
        {
            details.wrap(usize::from(width).saturating_sub(2));
        }
        (self.layout.width, self.layout.height) = (width, height);
        self.settle();
    }

    /// Returns the rows that the filter selects.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &TopRow> {
        let rows = self.reading.as_ref().map_or(&[][..], |r| r.rows.as_slice());
        self.shown.iter().map(move |index| &rows[*index])
    }

    fn listed(&mut self, listed: Result<Reading, String>) {
        match listed {
            Ok(mut reading) => {
                // The key may have changed since.
                reading.sort(self.sort);
                self.failure = None;
                self.reading = Some(reading);
                self.select_rows();
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    fn inspected(&mut self, name: &str, lines: Result<Vec<StatusLine>, String>, now: Instant) {
        let Some(details) = self.details.as_mut().filter(|d| d.name == name) else {
            return;
        };
        match lines {
            Ok(lines) => {
                self.failure = None;
                details.update(lines, now, usize::from(self.layout.width).saturating_sub(2));
            }
            Err(failure) => self.failure = Some(failure),
        }
    }

    /// Finds the rows that the filter selects, and among them the selected name.
    fn select_rows(&mut self) {
        let filter = self.filter.to_lowercase();
        let rows = self.reading.as_ref().map_or(&[][..], |r| r.rows.as_slice());
        let shown = rows.iter().enumerate();
        let shown = shown.filter(|(_, row)| row.contains(&filter));
        self.shown = shown.map(|(index, _)| index).collect();
        let at = match &self.selected {
            None => Some(0),
            Some(name) => self.rows().position(|row| row.name == *name),
        };
        // If the name is no longer there, the next one is selected.
        self.cursor.at = at.unwrap_or(self.cursor.at);
    }

    /// Keeps the selections in their windows, whose height depends on the messages.
    fn settle(&mut self) {
        let messages = self.messages();
        self.layout.divide(messages);
        let body = usize::from(self.layout.body);
        self.cursor.settle(self.shown.len(), body);
        if let Some(details) = &mut self.details {
            details.settle(body);
        }
    }

    /// Returns the lines below the rows: the last outcome, and the store's answer.
    fn messages(&self) -> Vec<String> {
        let failure = self.failure.as_ref();
        let failure = failure.map(|failure| format!("{failure}; trying again"));
        let messages = self.message.iter().cloned().chain(failure);
        let width = usize::from(self.layout.width);
        let lines = messages.flat_map(|text| wrapped(&Printable(&text).to_string(), width));
        lines.collect()
    }

    fn key(&mut self, key: &Key) -> Action {
        match key {
            Key::Ctrl('c') => return Action::Quit,
            Key::Ctrl('z') => return Action::Suspend,
            _ => {}
        }
        match self.overlay.take() {
            Some(Overlay::Help) => return Action::Nothing,
            Some(Overlay::Confirm(confirmation)) => return self.answer(confirmation, key),
            None => {}
        }
        if self.is_typing {
            return self.edit(key);
        }
        self.message = None;
        match key {
            Key::Char('q') => Action::Quit,
            Key::Char('?') => {
                self.overlay = Some(Overlay::Help);
                Action::Nothing
            }
            Key::Char('r') => Action::Refresh,
            Key::Char(' ') => {
                self.is_paused = !self.is_paused;
                Action::Nothing
            }
            Key::Char('b') => self.confirm(),
            key => match movement(key) {
                Some(movement) => {
                    self.step(movement);
                    Action::Nothing
                }
                None if self.details.is_some() => self.key_of_details(key),
                None => self.key_of_list(key),
            },
        }
    }

    fn key_of_details(&mut self, key: &Key) -> Action {
        if matches!(key, Key::Escape | Key::Enter | Key::Backspace) {
            self.details = None;
            return Action::Refresh;
        }
        Action::Nothing
    }

    fn key_of_list(&mut self, key: &Key) -> Action {
        match key {
            Key::Escape if !self.filter.is_empty() => {
                self.filter.clear();
                self.refilter()
            }
            Key::Escape => Action::Quit,
            Key::Enter => self.open(),
            Key::Char('/') => {
                self.is_typing = true;
                Action::Nothing
            }
            Key::Char('s') => {
                self.sort = next(self.sort);
                if let Some(reading) = &mut self.reading {
                    reading.sort(self.sort);
                }
                self.refilter()
            }
            _ => Action::Nothing,
        }
    }

    /// Opens the details of the selected name.
    fn open(&mut self) -> Action {
        let Some(name) = self.selected_row().map(|row| row.name.clone()) else {
            return Action::Nothing;
        };
        self.selected = Some(name.clone());
        self.details = Some(Details::new(name));
        Action::Refresh
    }

    /// Applies a key to the filter.
    fn edit(&mut self, key: &Key) -> Action {
        match key {
            Key::Enter => {
                self.is_typing = false;
                return self.refilter();
            }
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
                return self.refilter();
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Ctrl('u') => self.filter.clear(),
            Key::Char(c) => self.filter.push(*c),
            Key::Pasted(text) => self.filter.push_str(text.trim()),
            key => {
                if let Some(movement) = movement(key) {
                    self.step(movement);
                }
                return Action::Nothing;
            }
        }
        self.select_rows();
        Action::Nothing
    }

    /// Applies another filter or order, which may select locks whose rows are not kept.
    fn refilter(&mut self) -> Action {
        self.select_rows();
        let is_incomplete = self.reading.as_ref().is_some_and(Reading::is_incomplete);
        match is_incomplete {
            true => Action::Restart,
            false => Action::Nothing,
        }
    }

    fn step(&mut self, movement: Movement) {
        let body = usize::from(self.layout.body);
        if let Some(details) = &mut self.details {
            return details.step(movement, body);
        }
        self.cursor.step(movement, body);
        self.cursor.settle(self.shown.len(), body);
        self.selected = match movement {
            Movement::Home => None,
            _ => self.selected_row().map(|row| row.name.clone()),
        };
    }

    pub(super) fn selected_row(&self) -> Option<&TopRow> {
        self.rows().nth(self.cursor.at)
    }

    /// Asks whether to break the hold that is shown.
    fn confirm(&mut self) -> Action {
        let several = "several hold it; select one of them with up and down, then press b";
        let (name, hold, is_held) = match &self.details {
            Some(details) => (details.name.clone(), details.hold(), details.is_held()),
            None => match self.selected_row() {
                Some(row) => (row.name.clone(), row.hold.as_ref(), row.is_held),
                None => return Action::Nothing,
            },
        };
        let Some(hold) = hold.cloned() else {
            let is_list = self.details.is_none();
            self.message = Some(match is_held {
                true => several.to_owned(),
                false => format!("'{}' is not held", Printable(&name)),
            });
            return match is_held && is_list {
                true => self.open(),
                false => Action::Nothing,
            };
        };
        self.selected = Some(name.clone());
        let confirmation = Confirmation { name, hold };
        self.overlay = Some(Overlay::Confirm(confirmation));
        self.is_overlay_drawn = false;
        Action::Nothing
    }

    /// Applies the answer to a confirmation, of which every line has to be visible.
    fn answer(&mut self, confirmation: Confirmation, key: &Key) -> Action {
        if !self.is_overlay_drawn {
            self.overlay = Some(Overlay::Confirm(confirmation));
            return Action::Nothing;
        }
        let lines = confirmation.lines(usize::from(self.layout.width));
        let manner = match key {
            Key::Char('y') => Manner::Ask,
            Key::Char('!') => Manner::Now,
            _ => {
                self.message = Some("nothing was broken".to_owned());
                return Action::Nothing;
            }
        };
        if usize::from(self.layout.body) < lines.len() {
            let text = "nothing was broken: the terminal is too small to show what would be";
            self.message = Some(text.to_owned());
            return Action::Nothing;
        }
        let name = Printable(&confirmation.name);
        self.message = Some(format!("breaking the hold of '{name}'"));
        Action::Break(confirmation, manner)
    }
}

/// Returns how a key moves the selection.
fn movement(key: &Key) -> Option<Movement> {
    match key {
        Key::Move(movement) => Some(*movement),
        Key::Char('k') => Some(Movement::Up),
        Key::Char('j') => Some(Movement::Down),
        _ => None,
    }
}

/// Returns the next order.
fn next(key: SortKey) -> SortKey {
    match key {
        SortKey::Waiting => SortKey::Held,
        SortKey::Held => SortKey::Remaining,
        SortKey::Remaining => SortKey::Name,
        SortKey::Name => SortKey::Waiting,
    }
}
