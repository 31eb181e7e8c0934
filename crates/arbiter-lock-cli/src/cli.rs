//! The command line.

mod acquiring;
mod hold;
mod listing;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::names::completer;
use crate::secret::has_secret;
use crate::shell::quoted;
pub(crate) use acquiring::{AcknowledgementArgs, ModeArgs};
pub(crate) use hold::HoldArgs;
pub(crate) use listing::{ListArgs, Selection, SortKey, TopArgs};
use values::{duration, lease, some_time};

/// The version, and the parts of the build.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nbuild: ",
    env!("ARBITER_BUILD"),
    "\nstores: redis, valkey, sentinel, cluster, postgres, file; TLS: rustls"
);

/// Examples and statuses, for the long help.
const AFTER_HELP: &str = "\
Examples:
  arbiter run nightly -- ./report.sh         run it, after all others
  arbiter run -n nightly -- ./report.sh      skip it if another one runs
  arbiter once --daily UTC job -- ./job.sh   once a day among all machines
  arbiter list                               list the held locks and their holders
  arbiter top                                the same full-screen, with keys

Exit statuses:
  the command's own; of arbiter itself: 1 doctor has a finding, 64 usage, 65 other data or limit,
  69 store unavailable, 70 internal error, 71 system error, 75 held (run -E), 77 no rights, 79 lock
  lost, 124 --max-hold, 126 not executable, 127 not found. If the command dies of a signal, arbiter
  dies of it.";

/// Runs a command under a lock, on the Redis, Valkey or PostgreSQL that you already run, or on this
/// machine
#[derive(Debug, Parser)]
#[command(
    name = "arbiter",
    version,
    long_version = LONG_VERSION,
    after_long_help = AFTER_HELP,
    max_term_width = 100,
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The flags that name the store.
#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreArgs {
    /// Use this store (or ARBITER_STORE): redis://host:6379, rediss://host:6379,
    /// redis+sentinel://host,host/SERVICE, redis+cluster://host,host, redis+unix:///path/of/the/socket,
    /// postgres://user@host/database, file:///folder [default: a folder of this machine]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Read the store's URL from a file (or ARBITER_STORE_FILE), which hides a password
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "store")]
    pub(crate) store_file: Option<PathBuf>,
    /// Set the prefix of the keys (or ARBITER_KEY_PREFIX) [default: arbiter:]
    #[arg(long, global = true, value_name = "PREFIX")]
    pub(crate) key_prefix: Option<String>,
    /// Trust only the authorities in this file, in PEM (or ARBITER_CACERT) [default: the system's]
    #[arg(long, global = true, value_name = "PATH", help_heading = "TLS")]
    pub(crate) cacert: Option<PathBuf>,
    /// Present the certificate in this file, in PEM, with its --key (or ARBITER_CERT)
    #[arg(long, global = true, value_name = "PATH", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,
    /// Use the key in this file, in PEM, for --cert (or ARBITER_KEY)
    #[arg(long, global = true, value_name = "PATH", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
    /// Verify this name of the servers (or ARBITER_SNI) [default: the host]
    #[arg(long, global = true, value_name = "NAME", help_heading = "TLS")]
    pub(crate) sni: Option<String>,
    /// Print messages on stderr as text, or as a JSON object per line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value = "text",
        help_heading = "Output"
    )]
    pub(crate) log_format: LogFormat,
}

/// The format of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl StoreArgs {
    /// Returns the same flags, to be typed again, without a URL that has a secret.
    pub(crate) fn again(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let url = self.store.clone().filter(|url| !has_secret(url));
        let flags = [
            ("--store", url),
            ("--store-file", path(&self.store_file)),
            ("--key-prefix", self.key_prefix.clone()),
            ("--cacert", path(&self.cacert)),
            ("--cert", path(&self.cert)),
            ("--key", path(&self.key)),
            ("--sni", self.sni.clone()),
        ];
        flags
            .into_iter()
            .filter_map(|(flag, value)| Some(format!(" {flag} {}", quoted(&value?))))
            .collect()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command while holding the lock NAME
    Run(RunArgs),
    /// Run a command at most once per period among all machines
    #[command(mut_arg("command", |command| command.required(false).required_unless_present("reset")))]
    Once(OnceArgs),
    /// Hold the lock NAME without a process, until it is broken or its time is over
    Hold(HoldArgs),
    /// Show the holders of locks, and their waiters
    Status(StatusArgs),
    /// List the locks that are held or waited for
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show the locks full-screen, refreshed, with keys to sort, filter, inspect and break
    Top(TopArgs),
    /// Serve metrics of the locks over HTTP, for Prometheus
    Exporter(ExporterArgs),
    /// Check the settings of the store that matter to locks
    Doctor(DoctorArgs),
    /// End another client's hold of the lock NAME
    Break(BreakArgs),
    /// Change how many permits NAME has, while some are held
    Resize(ResizeArgs),
    /// Prepare a store before its first use
    #[command(subcommand)]
    Store(StoreCommand),
    /// Print the completions of a shell, which also complete the names of locks
    #[command(
        after_help = "Bash: source <(arbiter completions bash); zsh: source <(arbiter completions zsh); \
                            fish: arbiter completions fish | source"
    )]
    Completions(CompletionsArgs),
    /// Print the manual page of arbiter, or of one of its commands, in roff
    #[command(after_help = "Read it: arbiter man run | man -l -")]
    Man(ManArgs),
}

/// `arbiter completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: CompletedShell,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletedShell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// `arbiter man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command: run, once, store init, …
    pub(crate) command: Vec<String>,
}

/// `arbiter store`.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make the tables and functions of a PostgreSQL store, which its first use makes too if it may
    Init(InitArgs),
}

/// `arbiter store init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Print the SQL instead, for an owner of the database to run; it may be run again
    #[arg(long)]
    pub(crate) print: bool,
    /// With --print, the schema that the store's URL names
    #[arg(
        long,
        value_name = "NAME",
        default_value = "arbiter",
        requires = "print"
    )]
    pub(crate) schema: String,
    /// With --print, let this role use the store, and grant it nothing else
    #[arg(long, value_name = "NAME", requires = "print")]
    pub(crate) role: Option<String>,
}

/// `arbiter run`.
#[derive(Debug, Args)]
#[command(override_usage = "arbiter run [OPTIONS] NAME... -- COMMAND [ARGUMENT]...")]
pub(crate) struct RunArgs {
    /// Do not wait: if the lock is held, skip the command
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,
    /// Wait for the lock for at most this long (1500ms, 30s, 5m; a bare number is seconds)
    #[arg(short, long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) mode: ModeArgs,
    /// Lead an election, and show this text to all clients while the command runs
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["shared", "permits"])]
    pub(crate) announce: Option<String>,
    /// Adopt the hold whose token this file contains: see `arbiter hold`, and `into_token` of the
    /// library
    #[arg(long, value_name = "PATH", conflicts_with_all = ["no_wait", "shared", "permits", "announce"])]
    pub(crate) token_file: Option<PathBuf>,
    /// The lock's name; if there are several, all are acquired
    #[arg(required = true, value_name = "NAME", num_args = 1.., add = completer())]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// `arbiter once`.
#[derive(Debug, Args)]
#[command(
    override_usage = "arbiter once [OPTIONS] NAME RULE... -- COMMAND [ARGUMENT]...\n       \
                      arbiter once [OPTIONS] --reset NAME\n\n\
                      Rules: --every DURATION, --hourly ZONE or --daily ZONE; --at-least DURATION, \
                      alone or with one of these",
    group(ArgGroup::new("rule").args(["every", "hourly", "daily", "at_least", "reset"]).required(true).multiple(true))
)]
pub(crate) struct OnceArgs {
    /// Skip the command until the next point of a schedule that begins with the first start
    #[arg(long, value_name = "DURATION", value_parser = some_time, conflicts_with_all = ["hourly", "daily"])]
    pub(crate) every: Option<Duration>,
    /// Skip the command within the same hour of a time zone: UTC, Europe/Berlin
    #[arg(long, value_name = "ZONE", conflicts_with = "daily")]
    pub(crate) hourly: Option<String>,
    /// Skip the command on the same day of a time zone
    #[arg(long, value_name = "ZONE")]
    pub(crate) daily: Option<String>,
    /// Skip the command until this long after the last end
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    pub(crate) at_least: Option<Duration>,
    /// Ignore a run that failed, was interrupted or crashed
    #[arg(long)]
    pub(crate) repeat_failed: bool,
    /// Run the command even if it is not due, and record the run
    #[arg(long)]
    pub(crate) force: bool,
    /// Forget the last run of NAME, and run nothing
    #[arg(long, conflicts_with_all = ["every", "hourly", "daily", "at_least", "force", "repeat_failed", "command"])]
    pub(crate) reset: bool,
    /// While the command runs elsewhere, wait this long before it is skipped [default: 0]
    #[arg(short, long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub(crate) wait: Option<Duration>,
    /// Exit with this status if the command is skipped
    #[arg(
        short = 'E',
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) skip_exit_code: u8,
    /// The job's name, which is also the name of its lock
    #[arg(add = completer())]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// The command to run, and the options of its hold.
#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    /// Set how long the lock outlives a crash: 100ms to 365d
    #[arg(long, value_name = "DURATION", value_parser = lease, default_value = "30s", help_heading = "Lock")]
    pub(crate) lease: Duration,
    /// Set the time from TERM to KILL if the lock is lost [default: 5s, or a third of the lease]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Lock")]
    pub(crate) grace: Option<Duration>,
    /// End the command after this long
    #[arg(long, value_name = "DURATION", value_parser = some_time, help_heading = "Lock")]
    pub(crate) max_hold: Option<Duration>,
    #[command(flatten)]
    pub(crate) acknowledgement: AcknowledgementArgs,
    /// Show this note with the holder or waiter
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "Lock")]
    pub(crate) label: String,
    /// While waiting, report the holder again after this long, or never with 0
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s", help_heading = "Output")]
    pub(crate) heartbeat: Duration,
    /// Print no skip and no wait; warnings, errors and losses are still printed
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Print all events of the lock
    #[arg(short, long, help_heading = "Output")]
    pub(crate) verbose: bool,
    /// The command and its arguments, after `--`; it is not run by a shell
    #[arg(last = true, required = true, value_name = "COMMAND", num_args = 1..)]
    pub(crate) command: Vec<OsString>,
}

/// `arbiter status`.
#[derive(Debug, Args)]
#[command(
    override_usage = "arbiter status [OPTIONS] [--json] [--watch] NAME...\n       \
                      arbiter status [OPTIONS] --check NAME..."
)]
pub(crate) struct StatusArgs {
    /// Print one JSON object per line
    #[arg(long, conflicts_with = "check")]
    pub(crate) json: bool,
    /// Print nothing, and exit with 0 if all are free, 75 if one is held
    #[arg(long)]
    pub(crate) check: bool,
    /// Continue, and print again after each change
    #[arg(long, conflicts_with = "check")]
    pub(crate) watch: bool,
    /// The names of the locks
    #[arg(required = true, value_name = "NAME", num_args = 1.., add = completer())]
    pub(crate) names: Vec<String>,
}

/// `arbiter exporter`.
#[derive(Debug, Args)]
pub(crate) struct ExporterArgs {
    /// Listen on this address; port 0 chooses a free one. Every client that can reach it can read
    /// the metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9799")]
    pub(crate) listen: SocketAddr,
    /// Add metrics with the label `name` for up to N locks; use it with a pattern
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) names: usize,
    /// The names to read: `*` matches any text, `?` one character
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
}

/// `arbiter doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Check for locks with this lease: 100ms to 365d
    #[arg(long, value_name = "DURATION", value_parser = lease, default_value = "30s")]
    pub(crate) lease: Duration,
    /// Print a JSON array of objects with check, status, message and fix
    #[arg(long)]
    pub(crate) json: bool,
}

/// `arbiter break`.
#[derive(Debug, Args)]
pub(crate) struct BreakArgs {
    /// The fencing token of the hold to end, as `arbiter status` shows it
    #[arg(long, value_name = "F", required_unless_present = "external")]
    pub(crate) fence: Option<u64>,
    /// End the hold of an external holder, which has no fence and is not notified
    #[arg(long, conflicts_with_all = ["fence", "now"])]
    pub(crate) external: bool,
    /// End the hold at once; its holder is notified later, at its next renewal
    #[arg(long)]
    pub(crate) now: bool,
    /// The lock's name
    #[arg(add = completer())]
    pub(crate) name: String,
}

/// `arbiter resize`.
#[derive(Debug, Args)]
pub(crate) struct ResizeArgs {
    /// Set how many permits there are
    #[arg(long, value_name = "N")]
    pub(crate) of: u32,
    /// The semaphore's name
    #[arg(add = completer())]
    pub(crate) name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
