//! The flags of the commands that acquire a lock.

use arbiter_lock::Replicas;
use clap::Args;

use super::values::replicas;

/// How the lock is held, and the status if it is held already.
#[derive(Debug, Args)]
pub(crate) struct ModeArgs {
    /// Exit with this status if the lock is held
    #[arg(
        short = 'E',
        long,
        value_name = "N",
        default_value_t = 75,
        allow_negative_numbers = true
    )]
    pub(crate) conflict_exit_code: u8,
    /// Share the lock with other readers, as a reader-writer lock
    #[arg(long, conflicts_with = "permits")]
    pub(crate) shared: bool,
    /// Acquire K of the N permits of --of
    #[arg(long, value_name = "K", requires = "of")]
    pub(crate) permits: Option<u32>,
    /// Set how many permits there are in all, which must be the same everywhere
    #[arg(long, value_name = "N", requires = "permits")]
    pub(crate) of: Option<u32>,
    /// If another limit than N is in force, use that
    #[arg(long, requires = "of")]
    pub(crate) follow_limit: bool,
}

/// When the lock counts as held.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lock")]
pub(crate) struct AcknowledgementArgs {
    /// Wait until that many replicas have acknowledged the lock: a number, or `all`
    #[arg(long, value_name = "N|all", value_parser = replicas, default_value = "0", hide_default_value = true)]
    pub(crate) replicas: Replicas,
    /// Wait until the server has the lock on its disk
    #[arg(long)]
    pub(crate) durable: bool,
}
