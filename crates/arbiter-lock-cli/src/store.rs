//! The store that the user names, and a client of it.

use std::env::VarError;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Lock, Logger, RefusedKind};

use crate::cli::StoreArgs;
use crate::exit::Exit;
use crate::output;
use crate::secret::secret;

/// Makes a client of the store that the flags or the environment name, or of the default store.
///
/// It connects at first use: connecting is part of each wait.
pub(crate) fn client(args: &StoreArgs, logger: impl Logger) -> Result<Client, Exit> {
    let url = url(args)?;
    if url.trim_start().starts_with("memory:") {
        output::say("a memory store excludes no other process: every arbiter would have its own");
        return Err(Exit::Usage);
    }
    let mut builder = Client::builder().store(&url).logger(logger);
    let prefix = match &args.key_prefix {
        Some(prefix) => Some(prefix.clone()),
        None => variable("ARBITER_KEY_PREFIX")?,
    };
    if let Some(prefix) = prefix {
        builder = builder.key_prefix(&prefix);
    }
    if let Some(map) = variable("ARBITER_ADDRESS_MAP")? {
        builder = builder.address_map(&map).map_err(|error| fail(&error))?;
    }
    builder.connect_lazy().map_err(|error| fail(&error))
}

/// Checks that a lock can have that name.
pub(crate) fn check_name(name: &str) -> Result<(), Exit> {
    if (1..=Lock::MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    output::say(&format!(
        "a name has from 1 to {} bytes, and this one {}",
        Lock::MAX_NAME_BYTES,
        name.len()
    ));
    Err(Exit::Usage)
}

/// An outage of the store while a command waits.
#[derive(Default)]
pub(crate) struct Outage {
    since: Option<Instant>,
    is_reported: bool,
}

/// How long an outage may last, as in a wait without limit.
const LONGEST_OUTAGE: Duration = Duration::from_secs(30);
/// How long an outage lasts before it is reported.
const REPORTED_AFTER: Duration = Duration::from_secs(1);

impl Outage {
    /// Returns whether to retry after that error: it is transient and has not lasted for 30 s.
    pub(crate) fn may_pass(&mut self, error: &Error) -> bool {
        let length = self.since.get_or_insert_with(Instant::now).elapsed();
        let may_pass = error.is_unavailable() && length < LONGEST_OUTAGE;
        if may_pass && REPORTED_AFTER <= length && !self.is_reported {
            self.is_reported = true;
            output::say(&format!("{error}; trying again"));
        }
        may_pass
    }

    /// Notes that the store has answered.
    pub(crate) fn end(&mut self) {
        *self = Self::default();
    }
}

/// Prints an error, and returns its exit.
pub(crate) fn fail(error: &Error) -> Exit {
    output::say(&limits(error).unwrap_or_else(|| error.to_string()));
    Exit::of(error)
}

/// Returns the message for a refused limit, with the flag that helps.
fn limits(error: &Error) -> Option<String> {
    let Error::Refused(refused) = error else {
        return None;
    };
    let name = refused.name.escape_debug();
    let message = match refused.kind {
        RefusedKind::AboveLimit { asked, limit } => {
            format!("--permits {asked} is more than there are: '{name}' has {limit}")
        }
        RefusedKind::LimitDiffers {
            asked: Some(of),
            in_force: Some(limit),
        } => {
            format!(
                "--of {of} is not the limit in force: '{name}' has {limit} as long as there are \
                 holders or waiters (--follow-limit uses it, arbiter resize changes it)"
            )
        }
        RefusedKind::LimitDiffers {
            asked: Some(_),
            in_force: None,
        } => format!("'{name}' is shared with no limit just now (--shared): permits need one"),
        RefusedKind::LimitDiffers { asked: None, .. } => {
            format!("'{name}' is shared by permits just now (--permits): --shared has no limit")
        }
        _ => return None,
    };
    Some(message)
}

fn url(args: &StoreArgs) -> Result<String, Exit> {
    if let Some(url) = &args.store {
        if secret(url).is_some() {
            output::say(
                "hint: a password on the command line is visible in the list of processes; \
                 ARBITER_STORE or --store-file hides it",
            );
        }
        return Ok(url.clone());
    }
    if let Some(path) = &args.store_file {
        return read(path);
    }
    if let Some(url) = variable("ARBITER_STORE")? {
        return Ok(url);
    }
    match std::env::var_os("ARBITER_STORE_FILE").filter(|path| !path.is_empty()) {
        Some(path) => read(path.as_ref()),
        None => {
            let url = arbiter_lock::default_store().map_err(|error| fail(&error))?;
            output::say(&format!(
                "this machine only, and this user: no store is named, so it is {url} (--store, \
                 ARBITER_STORE)"
            ));
            Ok(url)
        }
    }
}

/// Reads a variable. An empty one counts as unset.
fn variable(name: &str) -> Result<Option<String>, Exit> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            output::say(&format!("{name} in the environment is not UTF-8"));
            Err(Exit::Usage)
        }
    }
}

fn read(path: &std::path::Path) -> Result<String, Exit> {
    let shown = path.display();
    let message = match std::fs::read_to_string(path) {
        Ok(url) if url.trim().is_empty() => {
            format!("{shown} is empty, and should hold the store's URL")
        }
        Ok(url) => return Ok(url.trim().to_owned()),
        Err(error) => format!("cannot read the store's URL from {shown}: {error}"),
    };
    output::say(&message);
    Err(Exit::Usage)
}
