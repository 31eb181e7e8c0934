//! Messages on stderr. Data goes to stdout.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use arbiter_lock::{Contended, Event, Level, Logger};

use crate::cli::StoreArgs;
use crate::exit::Exit;
use crate::shell::quoted;
use crate::writer;

/// Prints a message to stderr, with a prefix on each line. Does not wait for the reader.
pub(crate) fn say(message: &str) {
    let lines = message.lines().map(|line| format!("arbiter: {line}\n"));
    writer::write(lines.collect());
}

/// Prints that the system has refused a descriptor, a thread or memory.
pub(crate) fn refused(error: &dyn Display) -> Exit {
    say(&format!("the system refuses what arbiter needs: {error}"));
    Exit::Os
}

/// Returns the message of a wait.
pub(crate) fn waiting(contended: &Contended, store: &StoreArgs) -> String {
    let place = match contended.place {
        Some(place @ ..=100) => format!(", place {place}"),
        Some(_) => ", place beyond 100".to_owned(),
        None => String::new(),
    };
    format!("waiting{place}: {}", held(contended, store))
}

/// Returns the message of a lock that is held, with the command to type next.
pub(crate) fn held(contended: &Contended, store: &StoreArgs) -> String {
    let holder = contended
        .holder
        .as_ref()
        .map_or(String::new(), |holder| format!(" by {holder}"));
    let name = quoted(&contended.name);
    format!(
        "{name} is held{holder}{}; see: arbiter status{} {name}",
        around(contended),
        store.again()
    )
}

/// Returns a hint if the holder runs this very command: it would wait for itself.
fn around(contended: &Contended) -> &'static str {
    let outer = std::env::var("ARBITER_OWNER").ok();
    let holder = contended.holder.as_ref().map(|holder| &holder.owner);
    if holder.is_some() && holder == outer.as_ref() {
        return ", which runs this very command: it would wait for itself";
    }
    ""
}

/// Formats a duration as a flag takes it, rounded down.
pub(crate) fn typed(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 1_000 == 0 => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}

/// Which events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// None.
    Quiet,
    /// Warnings and errors.
    Normal,
    /// All of them.
    Verbose,
}

/// How often renewals that fail are reported.
const RENEWALS_INTERVAL: Duration = Duration::from_secs(30);

/// Prints events.
pub(crate) struct Narrator {
    verbosity: Verbosity,
    /// When a renewal that failed was last reported.
    renewal_failed: Mutex<Option<Instant>>,
}

impl Narrator {
    pub(crate) const fn new(verbosity: Verbosity) -> Self {
        Self {
            verbosity,
            renewal_failed: Mutex::new(None),
        }
    }

    fn prints(&self, event: &Event) -> bool {
        match (self.verbosity, event) {
            (Verbosity::Quiet, _) => false,
            // The command reports its own loss.
            (_, Event::Lost { .. }) => false,
            // So is a missing name of the store.
            (_, Event::StoreNotNamed { .. }) => false,
            (Verbosity::Verbose, _) | (_, Event::NotServed { .. }) => true,
            (Verbosity::Normal, Event::RenewalFailed { .. }) => self.is_due(),
            // If the next request cannot reconnect, that is reported.
            (Verbosity::Normal, Event::Disconnected { .. } | Event::MasterReplaced { .. }) => false,
            // A setting of the server, which every command would repeat.
            (Verbosity::Normal, Event::UnprotectedMaster { .. }) => false,
            (Verbosity::Normal, event) => Level::Warn <= event.level(),
        }
    }

    /// Whether to report a renewal that failed.
    fn is_due(&self) -> bool {
        let last = self.renewal_failed.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| RENEWALS_INTERVAL <= last.elapsed());
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Logger for Narrator {
    fn log(&self, event: &Event) {
        if self.prints(event) {
            say(&event.to_string());
        }
    }

    fn enabled(&self, level: Level) -> bool {
        match self.verbosity {
            Verbosity::Quiet => false,
            Verbosity::Normal => Level::Warn <= level,
            Verbosity::Verbose => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_shown_as_typed() {
        for (ms, shown) in [
            (960, "960ms"),
            (30_000, "30s"),
            (1_500, "1500ms"),
            (0, "0s"),
        ] {
            assert_eq!(typed(Duration::from_millis(ms)), shown);
        }
        assert_eq!(typed(Duration::from_nanos(666_666_666)), "666ms");
    }
}
