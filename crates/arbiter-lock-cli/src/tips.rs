//! Tips for wrong command lines: what to type in place of the flags and commands of other tools.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands of other tools for which there is a tip.
pub(crate) const OTHER_COMMANDS: &[&str] = &[
    "lock", "acquire", "exec", "unlock", "release", "metrics", "serve", "locks", "show", "ps",
    "elect", "campaign", "cron", "help", "version", "info", "check", "init",
];

/// Returns what to type in place of a wrong command line, if it is a habit from another tool.
pub(crate) fn tip(error: &clap::Error, args: &[String]) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let command = text(error, ContextKind::InvalidSubcommand)?;
            of_command(command).or_else(|| of_unknown(error, command))
        }
        ErrorKind::UnknownArgument => {
            let flag = text(error, ContextKind::InvalidArg)?;
            of_word(args).or_else(|| of_flag(flag, verb(args)))
        }
        ErrorKind::ValueValidation => of_value(error, verb(args)),
        ErrorKind::InvalidValue => of_missing_value(error),
        ErrorKind::MissingRequiredArgument => of_missing(error, verb(args)),
        ErrorKind::InvalidUtf8 => {
            Some("a name and the value of a flag are UTF-8; a command after -- may have any bytes")
        }
        _ => None,
    }
}

/// Returns the command of arbiter in a command line, or an empty text.
fn verb(args: &[String]) -> &str {
    let verbs = ["run", "once", "status", "break", "resize"];
    let mut flags = args.iter().take_while(|arg| *arg != "--");
    flags
        .find(|arg| verbs.contains(&arg.as_str()))
        .map_or("", |verb| verb)
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

/// Returns the tip for a long flag with one dash, such as `-timeout`, which is read as `-t`.
fn of_word(args: &[String]) -> Option<&'static str> {
    let flags = args.split(|arg| arg == "--").next()?;
    let is_word = |arg: &String| {
        let word = arg.strip_prefix('-').unwrap_or_default();
        let word = word.split_once('=').map_or(word, |(word, _)| word);
        4 <= word.len()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
            && !word.starts_with('-')
    };
    let tip = "a long flag begins with two dashes, such as --wait 30s or --verbose";
    flags.iter().any(is_word).then_some(tip)
}

/// Returns what to type in place of a flag that other tools have.
fn of_flag(flag: &str, verb: &str) -> Option<&'static str> {
    Some(match flag {
        "-c" | "--command" | "--shell" => {
            "to run a line of shell: arbiter run NAME -- sh -c 'LINE'"
        }
        "--exec" => "the command comes after --: arbiter run NAME -- COMMAND",
        "-x" | "-e" | "-X" | "--exclusive" => "a lock is exclusive, unless --shared is given",
        "-s" | "--share" | "--read" => "to share the lock with other readers: --shared",
        "-o" | "--close" => {
            "the command inherits no descriptor of the lock, which ends with the command: leave -o out"
        }
        "-F" | "--no-fork" => {
            "arbiter stays beside its command, to renew the lock and to stop the command: leave it out"
        }
        "-u" | "--unlock" => {
            "a lock is released when its command ends; to end another client's hold: \
             arbiter break --fence F NAME"
        }
        "-t" | "-W" | "--timeout" | "--wait-timeout" | "--max-wait" => {
            "to wait for at most 30 s: --wait 30s"
        }
        "--nb" | "--nonblock" | "--non-blocking" | "--try" | "-f" | "--fail" | "-N" => {
            "to skip the command if the lock is held: --no-wait, or -n; without it, arbiter waits"
        }
        "-n" | "--no-wait" if verb == "once" => {
            "once does not wait unless --wait is given: leave it out"
        }
        "-q" | "--quiet" if verb == "status" => "to print nothing: status --check",
        "--ttl" | "--expiry" | "--expire" | "--session-ttl" => {
            "to set how long the lock outlives a crash: --lease 30s"
        }
        "-k" | "--kill-after" => "to set the time from TERM to KILL: --grace 5s",
        "--runtime-max" | "--max-time" | "--kill" => "to end the command after 2 h: --max-hold 2h",
        "--description" | "--name" | "--reason" => "to show a note with the holder: --label TEXT",
        "--on-calendar" | "--schedule" => {
            "to run once a day among all machines: arbiter once --daily UTC NAME -- COMMAND"
        }
        "-v" | "--verbose" | "-q" | "--quiet" | "-n" | "-w" | "--wait" | "--no-wait" => {
            "it follows the command: arbiter run -v NAME -- COMMAND"
        }
        "--redis" | "--url" | "--host" | "--port" | "-p" | "-a" | "--server" | "--endpoints" => {
            "to name the store: --store redis://host:6379"
        }
        _ => return None,
    })
}

/// Returns what to type in place of a command that other tools have.
fn of_command(command: &str) -> Option<&'static str> {
    Some(match command {
        "lock" | "acquire" | "exec" => "to run a command under a lock: arbiter run NAME -- COMMAND",
        "unlock" | "release" => {
            "a lock is released when its command ends; to end another client's hold: \
             arbiter break --fence F NAME"
        }
        "elect" | "campaign" => "to lead: arbiter run --announce TEXT NAME -- COMMAND",
        "cron" => "to run once per period: arbiter once --every 1h NAME -- COMMAND",
        "metrics" | "serve" => "to serve metrics for Prometheus: arbiter exporter",
        "locks" | "show" | "ps" | "info" => {
            "to list the locks: arbiter list, or live: arbiter top; to show one: arbiter status NAME"
        }
        "check" => "to check the store: arbiter doctor; a lock: arbiter status --check NAME",
        "init" => "to prepare a PostgreSQL store: arbiter store init",
        "version" => "to show the version: arbiter --version",
        _ => return None,
    })
}

/// Returns what to type in place of a command that neither arbiter nor another tool has.
fn of_unknown(error: &clap::Error, command: &str) -> Option<&'static str> {
    if command.contains("://") {
        return Some("to name the store: arbiter --store URL run NAME -- COMMAND");
    }
    // clap shows it.
    let is_similar = error.get(ContextKind::SuggestedSubcommand).is_some();
    (!is_similar).then_some(
        "the commands are run, once, status, list and others (arbiter --help); to run a command \
         under a lock: arbiter run NAME -- COMMAND",
    )
}

/// Returns what to type in place of a wrong value.
fn of_value(error: &clap::Error, verb: &str) -> Option<&'static str> {
    let value = text(error, ContextKind::InvalidValue)?;
    let flag = text(error, ContextKind::InvalidArg)?;
    let is_number = value.starts_with(|c: char| c.is_ascii_digit());
    match (flag.split(' ').next()?, verb) {
        ("--every", _) if !is_number => {
            Some("to follow the calendar: --daily ZONE or --hourly ZONE, such as --daily UTC")
        }
        ("--wait", "once") if !is_number => {
            Some("-w takes a duration of 0 or more, such as -w 30s; without it, once does not wait")
        }
        ("--wait", _) if value.starts_with('-') => {
            Some("a duration is 0 or more: -w 0, or -n, does not wait; without -w, it waits on")
        }
        ("--wait", _) if !is_number => Some(
            "-w takes a duration, such as -w 30s; without it, arbiter waits until the lock is free",
        ),
        _ => None,
    }
}

fn of_missing_value(error: &clap::Error) -> Option<&'static str> {
    let flag = text(error, ContextKind::InvalidArg)?;
    match flag.split(' ').next()? {
        "--daily" | "--hourly" => {
            Some("it takes a time zone, such as --daily UTC or --daily Europe/Berlin")
        }
        _ => None,
    }
}

fn of_missing(error: &clap::Error, verb: &str) -> Option<&'static str> {
    let missing = match error.get(ContextKind::InvalidArg)? {
        ContextValue::Strings(missing) => missing.as_slice(),
        _ => &[],
    };
    let lacks = |flag: &str| missing.iter().any(|missing| missing.contains(flag));
    Some(match verb {
        "break" => "the fence of the hold to end is shown by: arbiter status NAME",
        "resize" if lacks("--of") => {
            "to set how many permits there are: arbiter resize --of N NAME"
        }
        "once" if lacks("--every") => {
            "once needs a rule, such as --every or --daily: arbiter once --every 1h NAME -- COMMAND"
        }
        "once" => "the command comes after --: arbiter once --every 1h NAME -- COMMAND",
        "run" if lacks("--of") || lacks("--permits") => {
            "--permits and --of need each other: arbiter run --permits 1 --of 3 NAME -- COMMAND"
        }
        "run" => "the command comes after --: arbiter run NAME -- COMMAND",
        _ => return None,
    })
}

/// The flags that take a duration.
const DURATIONS: &[&str] = &[
    "-w",
    "--wait",
    "--lease",
    "--grace",
    "--max-hold",
    "--heartbeat",
    "--every",
    "--at-least",
];

/// Returns the message for a duration whose unit stands apart: it would be taken for a name.
pub(crate) fn split_duration(args: &[String]) -> Option<String> {
    let flags = args.split(|arg| arg == "--").next()?;
    flags.windows(3).find_map(|words| {
        let [flag, number, word] = words else {
            return None;
        };
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let unit = unit(word).filter(|_| is_number && DURATIONS.contains(&flag.as_str()))?;
        Some(format!(
            "{flag} {number} {word} is two words: write {flag} {number}{unit} (for a lock '{word}', \
             write {flag} {number}s {word})"
        ))
    })
}

/// Returns the unit of time that a word means.
fn unit(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => return None,
    })
}
