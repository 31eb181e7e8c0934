//! The store that the user names, and a client of it.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, ClientBuilder, Error, Lock, Logger, Printable, RefusedKind};

use crate::cli::StoreArgs;
use crate::exit::Exit;
use crate::output;
use crate::secret::{has_secret, without_secrets};
use crate::tls::{self, absolute, with_absolute_files, with_tls};

/// Makes a client of the store that the flags or the environment name, or of the default store.
///
/// It connects at first use: connecting is part of each wait.
pub(crate) fn client(args: &StoreArgs, logger: impl Logger) -> Result<Client, Exit> {
    client_and_url(args, logger).map(|(client, _)| client)
}

/// Makes that client, and returns the URL of its store without secrets.
pub(crate) fn client_and_url(
    args: &StoreArgs,
    logger: impl Logger,
) -> Result<(Client, String), Exit> {
    check_file(args)?;
    let builder = builder(args).map_err(|error| fail(&error))?;
    let builder = with_tls(args, builder)?;
    let url = builder.store_url().unwrap_or_default().to_owned();
    if url.starts_with("memory:") {
        output::say("a memory store excludes no other process: every arbiter would have its own");
        return Err(Exit::Usage);
    }
    if builder.has_default_store() {
        output::say(&format!(
            "this machine only, and this user: no store is named, so it is {url} (--store, \
             ARBITER_STORE)"
        ));
    }
    let mut builder = builder.logger(logger);
    if let Some(prefix) = &args.key_prefix {
        builder = builder.key_prefix(prefix);
    }
    let shown = without_secrets(&[url]).concat();
    let client = builder.connect_lazy().map_err(|error| match fail(&error) {
        // This user may not read a file that a setting of TLS names.
        Exit::Usage if matches!(&error, Error::Invalid(e) if e.what == "tls_file") => Exit::Denied,
        exit => exit,
    })?;
    Ok((client, shown))
}

/// Returns the variables that make a nested arbiter use the same store: with `None`, the variable
/// is removed. The URL of a file stays in the file.
pub(crate) fn env(args: &StoreArgs) -> Vec<(&'static str, Option<OsString>)> {
    let (url, file) = match (&args.store, &args.store_file) {
        (Some(url), _) => (Some(url_for_child(url.into())), None),
        (None, Some(path)) => (None, Some(file_for_child(path))),
        (None, None) => match (variable("ARBITER_STORE"), variable("ARBITER_STORE_FILE")) {
            (Some(url), _) => (Some(url_for_child(url)), None),
            (None, Some(path)) => (None, Some(file_for_child(path.as_ref()))),
            // The command may have another home.
            (None, None) => (arbiter_lock::default_store().ok().map(Into::into), None),
        },
    };
    // An empty variable counts as not set, and surrounding whitespace is ignored.
    let prefix = args
        .key_prefix
        .as_deref()
        .map(|prefix| match prefix.trim() {
            "" => OsString::from(" "),
            prefix => prefix.into(),
        });
    let mut env = vec![
        ("ARBITER_STORE", url),
        ("ARBITER_STORE_FILE", file),
        (
            "ARBITER_KEY_PREFIX",
            prefix.or(variable("ARBITER_KEY_PREFIX")),
        ),
    ];
    env.extend(tls::env(args));
    env
}

/// Returns the URL for a nested arbiter, which may have another working directory.
fn url_for_child(url: OsString) -> OsString {
    match url.to_str() {
        Some(text) => with_absolute_files(text).into_owned().into(),
        None => url,
    }
}

/// Returns the file from which a nested arbiter reads the store's URL. A pipe can be read once, so
/// it gets an empty file in its place, which it names.
fn file_for_child(path: &Path) -> OsString {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() && !found.is_dir() => "/dev/null".into(),
        _ => absolute(path).into_os_string(),
    }
}

/// Returns the value of a variable, unless it is empty.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Checks that the file with the URL can be read: it may come late, or belong to another user.
fn check_file(args: &StoreArgs) -> Result<(), Exit> {
    let path = match (&args.store, &args.store_file) {
        (Some(_), _) => None,
        (None, Some(path)) => Some(path.clone()),
        (None, None) if variable("ARBITER_STORE").is_some() => None,
        (None, None) => variable("ARBITER_STORE_FILE").map(PathBuf::from),
    };
    let Some(path) = path else {
        return Ok(());
    };
    check_readable(&path, "the store's URL")
}

/// Checks that a file with that content can be read.
pub(crate) fn check_readable(path: &Path, content: &str) -> Result<(), Exit> {
    // It may have a password.
    if path
        .as_os_str()
        .as_encoded_bytes()
        .windows(3)
        .any(|part| part == b"://")
    {
        output::say(&format!(
            "a URL is in the place of a path: {content} is read from a file"
        ));
        return Err(Exit::Usage);
    }
    let Err(error) = std::fs::File::open(path) else {
        return Ok(());
    };
    let exit = match error.kind() {
        ErrorKind::NotFound => Exit::Unavailable,
        ErrorKind::PermissionDenied => Exit::Denied,
        _ => return Ok(()),
    };
    let path = path.display();
    output::say(&format!("cannot read {content} from {path}: {error}"));
    Err(exit)
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
    let name = Printable(&refused.name);
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

/// Returns the settings of the flags, else of the environment.
fn builder(args: &StoreArgs) -> Result<ClientBuilder, Error> {
    match (&args.store, &args.store_file) {
        (Some(url), _) => {
            if has_secret(url) {
                output::say(
                    "hint: a password on the command line is visible in the list of processes; \
                     ARBITER_STORE or --store-file hides it",
                );
            }
            ClientBuilder::settings_from_env().map(|builder| builder.store(url))
        }
        (None, Some(path)) => ClientBuilder::settings_from_env()?.store_file(path),
        (None, None) => ClientBuilder::from_env(),
    }
}
