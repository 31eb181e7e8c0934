//! What people read, on stderr. Data goes to stdout, and is written where it is made.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use arbiter_lock::{Contended, Event, Level, Logger};

use crate::exit::Exit;

/// Says something to people; every line says who speaks.
pub(crate) fn say(message: &str) {
    let mut stderr = std::io::stderr().lock();
    for line in message.lines() {
        // Nobody may be there to read it.
        let _ = writeln!(stderr, "arbiter: {line}");
    }
}

pub(crate) fn bug(error: &dyn Display) -> Exit {
    say(&format!("this is a fault of arbiter's own: {error}"));
    Exit::Software
}

/// Says what is wrong with the command line; help and version are no errors.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // A closed pipe is nobody's fault.
        let _ = error.print();
        return Exit::Success;
    }
    let args: Vec<_> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    match corrected(&args) {
        Some(line) => say(&format!(
            "the command to run stands behind --, like this:\n  {line}"
        )),
        None => {
            let _ = error.print();
        }
    }
    Exit::Usage
}

/// `run NAME COMMAND` without `--`, as it has to be written.
fn corrected(args: &[String]) -> Option<String> {
    let run = args.iter().position(|arg| arg == "run")?;
    if args
        .iter()
        .any(|arg| arg == "--" || arg == "-h" || arg == "--help")
    {
        return None;
    }
    let takes_value = |arg: &str| {
        const LONG: [&str; 9] = [
            "--wait",
            "--conflict-exit-code",
            "--lease",
            "--grace",
            "--max-hold",
            "--label",
            "--store",
            "--store-file",
            "--key-prefix",
        ];
        LONG.contains(&arg) || arg == "-w" || arg == "-E"
    };
    let mut name = run + 1;
    while let Some(arg) = args.get(name).filter(|arg| arg.starts_with('-')) {
        name += if takes_value(arg) { 2 } else { 1 };
    }
    let (head, command) = args.split_at_checked(name + 1)?;
    if command.is_empty() {
        return None;
    }
    let quote = |words: &[String]| {
        words
            .iter()
            .map(|word| quoted(word))
            .collect::<Vec<_>>()
            .join(" ")
    };
    Some(format!(
        "arbiter {} -- {}",
        quote(&head[1..]),
        quote(command)
    ))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a waiter is told.
pub(crate) fn waiting(contended: &Contended) -> String {
    let place = contended
        .place
        .map_or(String::new(), |place| format!(", place {place}"));
    format!("waiting{place}: {}", held(contended))
}

/// Who stands in the way, and what to type next.
pub(crate) fn held(contended: &Contended) -> String {
    let holder = contended
        .holder
        .as_ref()
        .map_or(String::new(), |holder| format!(" by {holder}"));
    let name = quoted(&contended.name);
    format!("{name} is held{holder}; see: arbiter status {name}")
}

/// A duration for people.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        s @ 10..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} min", s / 60),
        s => format!("{} h", s / 3_600),
    }
}

/// Tells of events: all of them, or what is worth a warning, or nothing.
pub(crate) struct Narrator {
    least: Option<Level>,
}

impl Narrator {
    pub(crate) const fn everything() -> Self {
        Self {
            least: Some(Level::Debug),
        }
    }

    pub(crate) const fn errors() -> Self {
        Self { least: None }
    }

    pub(crate) const fn warnings() -> Self {
        Self {
            least: Some(Level::Error),
        }
    }
}

impl Logger for Narrator {
    fn log(&self, event: &Event<'_>) {
        // What is lost, the command says itself.
        if self.least.is_some_and(|least| least <= event.level())
            && !matches!(event, Event::Lost { .. })
        {
            say(&event.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        corrected(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_without_the_dashes_is_shown_with_them() {
        assert_eq!(
            of("arbiter run n echo hi").as_deref(),
            Some("arbiter run n -- echo hi")
        );
        assert_eq!(
            of("arbiter run -n -w 5s n sh -c x").as_deref(),
            Some("arbiter run -n -w 5s n -- sh -c x")
        );
        assert_eq!(
            of("arbiter --store u run n a;b").as_deref(),
            Some("arbiter --store u run n -- 'a;b'")
        );
        assert_eq!(of("arbiter run n"), None);
        assert_eq!(of("arbiter run -- echo"), None);
        assert_eq!(of("arbiter status a b"), None);
    }
}
