//! Errors of the command line, with a corrected line if possible.

use std::io;

use arbiter_lock::Printable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory as _};

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;
use crate::secret::{message_without_secrets, without_secrets};
use crate::shell::quoted;
use crate::tips::{self, OTHER_COMMANDS};

/// Refuses command lines that parse, but cannot be meant.
pub(crate) fn check() -> Result<(), Exit> {
    let Some(message) = tips::split_duration(&arguments()) else {
        return Ok(());
    };
    output::say(&message);
    Err(Exit::Usage)
}

fn arguments() -> Vec<String> {
    let args = std::env::args_os().skip(1);
    args.map(|arg| arg.to_string_lossy().into_owned()).collect()
}

/// Prints an error of the command line, or the help or version that was asked for.
pub(crate) fn usage(error: clap::Error) -> Exit {
    let args = arguments();
    if asks_for_json(&args) {
        output::log_json();
    }
    if let Err(exit) = check() {
        return exit;
    }
    if may_lack_dashes(error.kind(), &args)
        && let Some(line) = corrected(&args)
    {
        output::say_lines(&[
            "put the command to run after --, like this:",
            &format!("  {line}"),
        ]);
        return Exit::Usage;
    }
    if !error.use_stderr() {
        return match error.print() {
            // The reader may have closed the pipe.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                output::say(&format!("cannot write to stdout: {error}"));
                Exit::Os
            }
            _ => Exit::Success,
        };
    }
    let tip = tips::tip(&error, &args);
    let of_argument = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
    let mut error = error;
    if tip.is_some() || of_argument.contains(&error.kind()) {
        // It would suggest to run the argument as a command.
        error.remove(ContextKind::Suggested);
    }
    print(error, &args);
    if let Some(tip) = tip {
        output::say(&format!("  tip: {tip}"));
    }
    Exit::Usage
}

/// Returns whether the cause of an error may be that the `--` before the command is missing.
fn may_lack_dashes(kind: ErrorKind, args: &[String]) -> bool {
    // A corrected line would show another argument.
    let is_utf8 = std::env::args_os().all(|arg| arg.into_string().is_ok());
    let has_dashes = args.iter().any(|arg| arg == "--");
    // A `--` may belong to the command.
    let is_likely = matches!(
        kind,
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::DisplayHelp
    );
    is_utf8 && (is_likely || !has_dashes)
}

/// Returns whether a wrong command line asks for messages in JSON.
fn asks_for_json(args: &[String]) -> bool {
    let flags = args.split(|arg| arg == "--").next().unwrap_or_default();
    flags.iter().any(|arg| arg == "--log-format=json")
        || flags.windows(2).any(|two| two == ["--log-format", "json"])
}

/// Prints clap's message, which quotes arguments, without the secrets of URLs.
fn print(mut error: clap::Error, args: &[String]) {
    // A line break in an argument does not end a line of the message.
    let shown = |text: &str| Printable(&message_without_secrets(text, args)).to_string();
    let quoted: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, ContextValue::String(shown(text)))),
            ContextValue::Strings(texts) => {
                let texts = texts.iter().map(|text| shown(text));
                Some((kind, ContextValue::Strings(texts.collect())))
            }
            _ => None,
        })
        .collect();
    for (kind, value) in quoted {
        error.insert(kind, value);
    }
    let message = message_without_secrets(&error.to_string(), args);
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let lines: Vec<&str> = message.lines().filter(|line| !line.is_empty()).collect();
    output::say_lines(&lines);
}

/// Returns the corrected line if the `--` before the command of `run` or `once` is missing.
fn corrected(args: &[String]) -> Option<String> {
    ["run", "once"]
        .iter()
        .find_map(|verb| corrected_of(verb, args))
        .or_else(|| without_run(args))
}

/// Returns the corrected line of `arbiter NAME -- COMMAND`, which lacks `run`.
///
/// With two names, the first may be a mistyped command: such a line is not corrected.
fn without_run(args: &[String]) -> Option<String> {
    let mut at = 0;
    while let Some(arg) = args
        .get(at)
        .filter(|arg| arg.starts_with("--") && 2 < arg.len())
    {
        at += words_of_flag("run", arg)?;
    }
    let (name, rest) = args.get(at..)?.split_first()?;
    let cli = Cli::command();
    let is_command = cli.get_subcommands().any(|command| {
        command.get_name() == name || command.get_all_aliases().any(|alias| alias == name)
    });
    let dashes = rest.iter().position(|arg| arg == "--")?;
    let mut flags = 0;
    while flags < dashes {
        let flag = rest.get(flags).filter(|arg| arg.starts_with('-'))?;
        flags += words_of_flag("run", flag)?;
    }
    if is_command || name.starts_with('-') || OTHER_COMMANDS.contains(&name.as_str()) {
        return None;
    }
    let args = without_secrets(args);
    let words: Vec<_> = args.iter().map(|word| quoted(word)).collect();
    let (before, after) = words.split_at(at);
    let has_command = dashes + 1 < rest.len();
    let line = [before, &["run".to_owned()], after].concat().join(" ");
    has_command.then(|| format!("arbiter {line}"))
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
            ("n -- echo hi", "run n -- echo hi"),
            ("--store u a -n -- true", "--store u run a -n -- true"),
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
            "n echo",
            "n --",
            "lock n -- true",
            "list -- true",
            "rnu x -- true",
            "--store u a b -- true",
            "redis://h run x -- true",
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
