//! Messages on stderr. Data goes to stdout.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arbiter_lock::{Contended, Event, EventFields, Level, Logger, Printable, Seconds};
use serde_json::{Value, json};

use crate::cli::StoreArgs;
use crate::exit::Exit;
use crate::printable_json::PrintableJson;
use crate::shell::quoted;
use crate::writer;

/// Whether messages are JSON objects.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Prints messages as JSON objects from now on.
pub(crate) fn log_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Prints a message of one line to stderr. Does not wait for the reader.
pub(crate) fn say(message: &str) {
    print(&[message], "info", &EventFields::default());
}

/// Prints a message of several lines, with a prefix on each.
///
/// A line break within a line is escaped: it may be in a path or a value, and forge a line.
pub(crate) fn say_lines(lines: &[&str]) {
    print(lines, "info", &EventFields::default());
}

/// Prints a message, as an object with the fields of an event if that is asked for.
fn print(lines: &[&str], level: &str, fields: &EventFields<'_>) {
    if !IS_JSON.load(Ordering::Relaxed) {
        let lines = lines
            .iter()
            .map(|line| format!("arbiter: {}\n", Printable(line)));
        return writer::write(lines.collect());
    }
    let message = lines.join("\n");
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = time.map_or(0.0, |time| time.as_secs_f64());
    let mut line = json!({ "time": time, "level": level, "message": message });
    let kind = Some(fields.kind).filter(|kind| !kind.is_empty());
    let cause = fields.cause.map(|cause| cause.to_string());
    let more = [
        ("event", kind.map(Value::from)),
        ("name", fields.name.map(Value::from)),
        ("fence", fields.fence.map(Value::from)),
        ("owner", fields.owner.map(Value::from)),
        ("waited", fields.waited.map(Value::from)),
        ("held", fields.held.map(Value::from)),
        ("reason", fields.reason.map(Value::from)),
        ("cause", cause.map(Value::from)),
        ("store", fields.store.map(Value::from)),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            line[name] = value;
        }
    }
    writer::write(format!("{}\n", PrintableJson(&line)));
}

/// Prints that the system has refused a descriptor, a thread or memory.
pub(crate) fn refused(error: &dyn Display) -> Exit {
    say(&format!("the system refuses arbiter a resource: {error}"));
    Exit::Os
}

/// Returns the message of a wait.
pub(crate) fn waiting(contended: &Contended, store: &StoreArgs) -> String {
    format!("waiting{}: {}", place(contended), held(contended, store))
}

/// Returns the message of a wait that has been reported, without the times of the holder, which
/// are old.
pub(crate) fn still_waiting(contended: &Contended, waited: Duration, store: &StoreArgs) -> String {
    let (name, waited) = (quoted(&contended.name), Seconds(waited));
    let holder = contended.holder.as_ref();
    let holder = holder.map_or(String::new(), |holder| format!(" by {}", holder.label));
    format!(
        "still waiting after {waited}{}: {name} is held{holder}; see: arbiter status{} {name}",
        place(contended),
        store.again()
    )
}

fn place(contended: &Contended) -> String {
    match contended.place {
        Some(place @ ..=100) => format!(", place {place}"),
        Some(_) => ", place beyond 100".to_owned(),
        None => String::new(),
    }
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
    // Several names have a line each.
    let outer = std::env::var("ARBITER_OWNER").unwrap_or_default();
    let holder = contended.holder.as_ref();
    if holder.is_some_and(|holder| outer.lines().any(|owner| owner == holder.owner)) {
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
            // The command reports its own loss.
            (_, Event::Lost { .. }) => false,
            // So is a missing name of the store.
            (_, Event::StoreNotNamed { .. }) => false,
            // Waits are reported with the command to type next.
            (_, Event::Waiting(_)) => false,
            (Verbosity::Verbose, _) | (_, Event::NotServed { .. }) => true,
            (Verbosity::Normal, Event::RenewalFailed { .. }) => self.is_due(),
            // If the next request cannot reconnect, that is reported.
            (Verbosity::Normal, Event::Disconnected { .. } | Event::MasterReplaced { .. }) => false,
            // A setting of the server, which every command would repeat.
            (Verbosity::Normal, Event::UnprotectedMaster { .. }) => false,
            (Verbosity::Normal, event) => Level::Warn <= event.level(),
        }
    }

    /// Returns whether to report a renewal that failed.
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

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

impl Logger for Narrator {
    fn log(&self, event: &Event) {
        if self.prints(event) {
            print(&[&event.to_string()], word(event.level()), &event.fields());
        }
    }

    fn enabled(&self, level: Level) -> bool {
        match self.verbosity {
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
