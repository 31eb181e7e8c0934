//! Errors of the command line, with a corrected line if possible.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory as _};

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;
use crate::secret::{message_without_secrets, without_secrets};
use crate::shell::quoted;

/// Prints an error of the command line, or the help or version that was asked for.
pub(crate) fn usage(error: clap::Error) -> Exit {
    let args: Vec<_> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    if let Some(line) = corrected(&args) {
        output::say(&format!(
            "put the command to run after --, like this:\n  {line}"
        ));
        return Exit::Usage;
    }
    let hint = match error.kind() {
        ErrorKind::InvalidSubcommand => args.iter().find_map(|arg| hint(arg)),
        ErrorKind::UnknownArgument => argument(&error).and_then(hint_of_flag),
        ErrorKind::ValueValidation => is_negative(&error).then_some(
            "a duration is 0 or more: -w 0, or -n, does not wait; without -w, it waits on",
        ),
        ErrorKind::MissingRequiredArgument if args.iter().any(|arg| arg == "break") => {
            Some("the fence of the hold to end is shown by: arbiter status NAME")
        }
        _ => None,
    };
    let mut error = error;
    if hint.is_some() {
        // It would suggest to run the flag as a command.
        error.remove(ContextKind::Suggested);
    }
    print(&error, &args);
    if let Some(hint) = hint {
        output::say(hint);
    }
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Success
    }
}

/// Returns the argument that an error is about.
fn argument(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(argument) => Some(argument),
        _ => None,
    }
}

fn is_negative(error: &clap::Error) -> bool {
    let value = error.get(ContextKind::InvalidValue);
    matches!(value, Some(ContextValue::String(value)) if value.starts_with('-'))
}

/// Returns what to type in place of a flag that other tools have.
fn hint_of_flag(flag: &str) -> Option<&'static str> {
    match flag {
        "-c" | "--command" => Some("to run a line of shell: arbiter run NAME -- sh -c 'LINE'"),
        "-x" | "-e" | "--exclusive" => Some("a lock is exclusive, unless --shared is given"),
        "-s" => Some("to share the lock with other readers: --shared"),
        "-t" | "--timeout" | "--wait-timeout" => Some("to wait for at most 30 s: --wait 30s"),
        "--nb" | "--nonblock" | "--non-blocking" | "--try" => {
            Some("to skip the command if the lock is held: --no-wait, or -n")
        }
        "--ttl" | "--expiry" | "--expire" => {
            Some("to set how long the lock outlives a crash: --lease 30s")
        }
        "-v" | "--verbose" | "-q" | "--quiet" | "-n" | "-w" => {
            Some("it stands behind the command: arbiter run -v NAME -- COMMAND")
        }
        "--redis" | "--url" | "--host" => Some("to name the store: --store redis://host:6379"),
        _ => None,
    }
}

/// Returns what to type in place of a command that other tools have.
fn hint(command: &str) -> Option<&'static str> {
    match command {
        "lock" | "acquire" | "exec" => {
            Some("to run a command under a lock: arbiter run NAME -- COMMAND")
        }
        "unlock" | "release" => Some(
            "a lock is released when its command ends; to end another client's hold: \
             arbiter break --fence F NAME",
        ),
        "metrics" | "serve" => Some("to serve metrics for Prometheus: arbiter exporter"),
        "locks" | "show" | "ps" | "top" => {
            Some("to list the locks: arbiter list; to show one: arbiter status NAME")
        }
        _ => None,
    }
}

/// Prints clap's message, which quotes arguments, without the secrets of URLs.
fn print(error: &clap::Error, args: &[String]) {
    if without_secrets(args) == args {
        // The reader may have closed the pipe.
        let _ = error.print();
        return;
    }
    let message = message_without_secrets(&error.to_string(), args);
    output::say(message.trim_end());
}

/// Returns the corrected line if the `--` before the command of `run` or `once` is missing.
fn corrected(args: &[String]) -> Option<String> {
    ["run", "once"]
        .iter()
        .find_map(|verb| corrected_of(verb, args))
}

fn corrected_of(verb: &str, args: &[String]) -> Option<String> {
    let mut positions = Vec::new();
    let mut at = 0;
    while positions.len() < 3 {
        let arg = args.get(at)?;
        if arg.len() < 2 || !arg.starts_with('-') {
            positions.push(at);
            at += 1;
        } else {
            at += words_of_flag(verb, arg)?;
        }
    }
    if args[positions[0]] != verb {
        return None;
    }
    let shown = |words: &[String]| {
        let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    };
    let args = without_secrets(args);
    let (head, command) = args.split_at(positions[2]);
    let command = match command {
        // One word that is a line of shell.
        [line] if line.contains(' ') => format!("sh -c {}", quoted(line)),
        words => shown(words),
    };
    Some(format!("arbiter {} -- {command}", shown(head)))
}

/// Returns how many words a flag of that command takes, including itself.
///
/// Returns `None` for `--`, an unknown flag, or one that asks for help: such a line is not
/// corrected.
fn words_of_flag(verb: &str, flag: &str) -> Option<usize> {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand(verb)?;
    let words = |action: &ArgAction, has_value: bool| match action {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => None,
        action => Some(if action.takes_values() && !has_value {
            2
        } else {
            1
        }),
    };
    if let Some(long) = flag.strip_prefix("--") {
        let (long, has_value) = long
            .split_once('=')
            .map_or((long, false), |(long, _)| (long, true));
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(long))?;
        return words(arg.get_action(), has_value);
    }
    let mut shorts = flag.chars().skip(1).peekable();
    while let Some(short) = shorts.next() {
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_short() == Some(short))?;
        let count = words(arg.get_action(), shorts.peek().is_some())?;
        if arg.get_action().takes_values() {
            return Some(count);
        }
    }
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<String> {
        corrected(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn command_without_dashes_is_corrected() {
        let lines = [
            ("run n echo hi", "run n -- echo hi"),
            ("run -n -w 5s n sh -c x", "run -n -w 5s n -- sh -c x"),
            ("run n -w 5s true", "run n -w 5s -- true"),
            ("run -qw 5s n true", "run -qw 5s n -- true"),
            (
                "run -w5s --lease=2s n true",
                "run -w5s --lease=2s n -- true",
            ),
            ("--store u run n a;b", "--store u run n -- 'a;b'"),
            (
                "--key-prefix run run n true",
                "--key-prefix run run n -- true",
            ),
            ("run n df -h", "run n -- df -h"),
            ("run n git log -- file", "run n -- git log -- file"),
            ("once n --every 1h true", "once n --every 1h -- true"),
            ("once --every=1h n a -b", "once --every=1h n -- a -b"),
        ];
        for (typed, shown) in lines {
            assert_eq!(of(typed), Some(format!("arbiter {shown}")), "{typed}");
        }
    }

    #[test]
    fn other_mistakes_are_not_corrected() {
        for typed in [
            "run n",
            "run -- echo",
            "run n -- echo",
            "run -h n echo",
            "run --wiat 5s n echo",
            "status a b",
            "run n -w",
        ] {
            assert_eq!(of(typed), None, "{typed}");
        }
    }

    #[test]
    fn corrected_line_shows_no_password() {
        let line = of("run --store redis://:pw@h n true");
        assert_eq!(
            line.as_deref(),
            Some("arbiter run --store 'redis://:***@h' n -- true")
        );
        let line = of("run --store redis+sentinel://h/m?sentinel_password=pw n true");
        assert!(line.is_some_and(|line| !line.contains("pw")));
    }
}
