//! The lines of the view around the rows, and those in place of the rows.

use std::time::Instant;

use arbiter_lock::{Printable, Seconds};

use super::reading::Reading;
use super::text::wrapped;
use super::view::{Confirmation, Overlay, View};
use crate::cli::SortKey;
use crate::commands::r#break::BreakableHold;

const HELP: &[&str] = &[
    "Keys of the list",
    "  up, down, j, k, PgUp, PgDn, Home, End: select a name; the selection follows it",
    "  Enter: details of the name: holders, fences, waiters in order, the last run",
    "  / : show only rows whose name or holder contains a text; Esc clears it",
    "  s: sort by waiting, held, remaining, name",
    "  b: break the hold that is shown, after a confirmation",
    "  r: refresh now; space: pause; q or Esc: quit; Ctrl-Z: stop, until fg",
    "Keys of the details",
    "  up, down: select one of several holders; b: break its hold; Esc: back",
    "HELD is how long the lock is held, REMAINING how long without a renewal.",
    "",
    "Any key closes this help.",
];

impl Confirmation {
    /// Returns the question: the name, the holder, its fence, and the keys.
    pub(super) fn lines(&self, width: usize) -> Vec<String> {
        let (name, holder) = (Printable(&self.name), Printable(&self.hold.holder));
        let (fence, keys): (String, &[&str]) = match &self.hold.hold {
            BreakableHold::Fence(fence) => (
                format!("  fence: {fence}"),
                &[
                    "y  ask it to stop: the lock stays its own until it has stopped or its lease has expired",
                    "!  end its hold now: the next waiter is granted, and only the fence stops its writes",
                ],
            ),
            BreakableHold::External { owner } => (
                format!("  fence: none, external owner {}", Printable(owner)),
                &["y  end its hold now: it is not notified, and no fence stops its writes"],
            ),
        };
        let question = [
            format!("Break the hold of '{name}'?"),
            format!("  holder: {holder}"),
            fence,
        ];
        let keys = keys.iter().copied().chain(["any other key: break nothing"]);
        let lines = question.into_iter().chain(keys.map(str::to_owned));
        lines.flat_map(|line| wrapped(&line, width)).collect()
    }
}

impl View {
    /// Returns the lines in place of the rows and details.
    pub(super) fn overlay_lines(&self, width: usize) -> Option<Vec<String>> {
        match self.overlay.as_ref()? {
            Overlay::Help => Some(HELP.iter().flat_map(|line| wrapped(line, width)).collect()),
            Overlay::Confirm(confirmation) => Some(confirmation.lines(width)),
        }
    }

    /// Returns the line in place of no rows.
    pub(super) fn no_rows(&self) -> &'static str {
        match &self.reading {
            None if self.failure.is_some() => "the locks could not be read yet",
            None => "reading the locks",
            Some(reading) if !reading.is_whole => "reading the locks",
            Some(_) if !self.filter.is_empty() => "no lock matches the filter",
            Some(_) => "no lock is held or waited for",
        }
    }

    /// Returns the line about the last reading.
    pub(super) fn state(&self, now: Instant) -> String {
        // A message has no line of its own in a low terminal.
        if self.layout.messages.is_empty()
            && let Some(message) = self.message.as_ref().or(self.failure.as_ref())
        {
            return Printable(message).to_string();
        }
        if self.is_typing && !self.layout.has_keys {
            return self.input();
        }
        let mut parts = Vec::new();
        if self.is_paused {
            parts.push("PAUSED".to_owned());
        }
        let read = match &self.details {
            Some(details) => details.read,
            None => self.reading.as_ref().map(|reading| reading.begun),
        };
        let age = |time: Instant| Seconds(now.saturating_duration_since(time));
        match read {
            Some(read) if self.failure.is_some() => {
                parts.push(format!("NOT CURRENT: read {} ago", age(read)));
            }
            Some(read) if self.is_paused => parts.push(format!("read {} ago", age(read))),
            _ => {}
        }
        let is_whole = self
            .reading
            .as_ref()
            .is_some_and(|reading| reading.is_whole);
        if let Some(listing) = self.listing
            && (!is_whole || 1 <= now.saturating_duration_since(listing).as_secs())
        {
            let so_far = self.so_far;
            parts.push(format!(
                "reading for {}, {so_far} locks so far",
                age(listing)
            ));
        }
        let reading = self.reading.as_ref().filter(|reading| reading.is_whole);
        if let Some(reading) = reading.filter(|_| self.details.is_none()) {
            parts.extend(self.counts(reading));
        }
        parts.join("; ")
    }

    fn counts(&self, reading: &Reading) -> Vec<String> {
        let totals = &reading.totals;
        let locks = match totals.locks {
            1 => "1 lock".to_owned(),
            count => format!("{count} locks"),
        };
        let mut parts = vec![format!(
            "{locks}, {} held, {} waited for by {}",
            totals.held, totals.waited_for, totals.waiters
        )];
        if !self.filter.is_empty() {
            let (shown, filter) = (self.rows().len(), Printable(&self.filter));
            parts.push(format!("{shown} match '{filter}'"));
        }
        let kept = reading.rows.len();
        if (kept as u64) < totals.matching {
            parts.push(format!("the first {kept} are kept"));
        }
        let key = match self.sort {
            SortKey::Name => "name",
            SortKey::Held => "held",
            SortKey::Remaining => "remaining",
            SortKey::Waiting => "waiting",
        };
        parts.push(format!("by {key}"));
        parts
    }

    /// Returns the last line: the keys, or the filter that is typed.
    pub(super) fn keys(&self) -> String {
        match (&self.overlay, &self.details) {
            (Some(_), _) => String::new(),
            _ if self.is_typing => self.input(),
            (None, Some(_)) => "Esc back  up/down select  b break  r refresh  q quit".to_owned(),
            (None, None) => {
                "q quit  ? help  Enter details  / filter  s sort  b break  r refresh  space pause"
                    .to_owned()
            }
        }
    }

    fn input(&self) -> String {
        format!(
            "/{}_   (Enter keeps it, Esc clears it)",
            Printable(&self.filter)
        )
    }
}
