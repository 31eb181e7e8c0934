//! The settings that all primitives of a command share.

use std::time::Duration;

use arbiter_lock::Lock;

use crate::cli::WorkArgs;
use crate::exit::Exit;
use crate::output::{self, Narrator, Verbosity, typed};

/// Applies the settings of the flags to a primitive.
macro_rules! with_settings {
    ($primitive:expr, $args:expr, $grace:expr) => {{
        let primitive = $primitive
            .lease_time($args.lease)
            .lost_margin($grace + arbiter_lock::Lock::default_lost_margin($args.lease))
            .replicas($args.acknowledgement.replicas)
            .durable($args.acknowledgement.durable)
            .label(&crate::commands::supervisor::note($args));
        match $args.max_hold {
            Some(limit) => primitive.max_hold(limit),
            None => primitive,
        }
    }};
}
pub(crate) use with_settings;

/// Returns the time from TERM to KILL: the flag's, or 5 s, or a third of a short lease.
pub(crate) fn grace(args: &WorkArgs) -> Result<Duration, Exit> {
    let longest = (args.lease / 2).saturating_sub(Lock::default_lost_margin(args.lease));
    let grace = args
        .grace
        .unwrap_or(Duration::from_secs(5).min(args.lease / 3));
    if longest < grace {
        output::say(&format!(
            "a grace of {} leaves too little of a lease of {}: use --grace {} or less, or a longer --lease",
            typed(grace),
            typed(args.lease),
            typed(longest)
        ));
        return Err(Exit::Usage);
    }
    Ok(grace)
}

/// Returns the note of the holder: its label, or the command's name.
pub(crate) fn note(args: &WorkArgs) -> String {
    if !args.label.is_empty() {
        return args.label.clone();
    }
    let command = args.command.first().map(std::path::Path::new);
    let name = command
        .and_then(|path| path.file_name())
        .unwrap_or_default();
    name.to_string_lossy().chars().take(64).collect()
}

pub(crate) fn narrator(args: &WorkArgs) -> Narrator {
    Narrator::new(match args.verbose {
        true => Verbosity::Verbose,
        false => Verbosity::Normal,
    })
}
