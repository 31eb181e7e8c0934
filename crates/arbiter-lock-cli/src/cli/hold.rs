//! The flags of detached holds.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{duration, lease};
use super::{AcknowledgementArgs, ModeArgs};
use crate::names::completer;

/// `arbiter hold`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  arbiter hold deploy --for 2h --reason 'disk replacement'   nothing is deployed until then
  arbiter break deploy --fence F                             end it earlier
  arbiter hold deploy --for 10m --token-file t               hand it over to the next step:
  arbiter run --token-file t deploy -- ./deploy.sh           runs under it, then releases it")]
pub(crate) struct HoldArgs {
    /// Hold the lock for this long: 100ms to 365d
    #[arg(long = "for", value_name = "DURATION", value_parser = lease)]
    pub(crate) time: Duration,
    /// Show this note with the holder
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// Write the token of the hold to this file, for `arbiter run --token-file`; `-` is stdout
    #[arg(long, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
    /// If the lock is held, wait for at most this long (1500ms, 30s, 5m) [default: do not wait]
    #[arg(short, long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) mode: ModeArgs,
    #[command(flatten)]
    pub(crate) acknowledgement: AcknowledgementArgs,
    /// Print only errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The lock's name
    #[arg(add = completer())]
    pub(crate) name: String,
}
