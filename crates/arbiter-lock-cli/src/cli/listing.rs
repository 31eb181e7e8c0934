//! The commands that list locks.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::interval;

/// `arbiter list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Sort the list
    #[arg(long, value_name = "KEY", value_enum)]
    pub(crate) sort: Option<SortKey>,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// The locks of a list.
#[derive(Clone, Debug, Args)]
pub(crate) struct Selection {
    /// List only locks that this host holds (of a shared lock, the 100 holders that expire last are
    /// seen)
    #[arg(long, value_name = "HOST")]
    pub(crate) held_by: Option<String>,
    /// List only locks that are waited for
    #[arg(long)]
    pub(crate) waited: bool,
    /// The names to list: `*` matches any text, `?` one character
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
}

/// The keys of `arbiter top`, for its help.
const TOP_HELP: &str = "\
Keys:
  up, down, j, k, PgUp, PgDn, Home, End  move the selection, which follows the name
  Enter  details: holders, fences, waiters    b  break a hold, after a confirmation
  /  show only names and holders with a text  s  sort by another column
  r  refresh now    space  pause              ?  help    q, Esc, Ctrl-C  quit

Examples:
  arbiter top                          all locks, those with the most waiters first
  arbiter top 'build-*' --sort held    the oldest holds of builds first
  arbiter top --waited                 only locks that are waited for

Exit statuses:
  0 quit; 64 usage, 71 no terminal for the keys, or it cannot be written. A signal (TERM, INT, HUP,
  QUIT) ends it, and arbiter dies of it. Errors of the store are shown, and end nothing.";

/// `arbiter top`.
#[derive(Debug, Args)]
#[command(after_long_help = TOP_HELP)]
pub(crate) struct TopArgs {
    /// Read the locks again after this long, or later if reading takes longer: 100ms to 1d
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "2s")]
    pub(crate) interval: Duration,
    /// Sort the rows [default: waiting]
    #[arg(long, value_name = "KEY", value_enum)]
    pub(crate) sort: Option<SortKey>,
    #[command(flatten)]
    pub(crate) selection: Selection,
}

/// The sort key of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortKey {
    /// By name
    Name,
    /// By the time held, the longest first
    Held,
    /// By the time remaining, the shortest first
    Remaining,
    /// By the number of waiters, the most first
    Waiting,
}
