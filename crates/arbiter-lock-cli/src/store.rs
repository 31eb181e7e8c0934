//! Which store the user means, and a client of it.

use arbiter_lock::{Client, Error, Logger};

use crate::cli::StoreArgs;
use crate::exit::Exit;
use crate::output;

/// Connects to the store that the flags or the environment name; it never guesses one.
pub(crate) async fn connect(args: &StoreArgs, logger: impl Logger) -> Result<Client, Exit> {
    let url = url(args)?;
    if url.starts_with("memory:") {
        output::say("a memory store excludes nobody: every arbiter would have one of its own");
        return Err(Exit::Usage);
    }
    let mut builder = Client::builder().store(&url).logger(logger);
    let prefix = args
        .key_prefix
        .clone()
        .or_else(|| std::env::var("ARBITER_KEY_PREFIX").ok());
    if let Some(prefix) = prefix {
        builder = builder.key_prefix(&prefix);
    }
    builder.connect().await.map_err(|error| fail(&error))
}

/// Says what went wrong, and what it is to the caller.
pub(crate) fn fail(error: &Error) -> Exit {
    output::say(&error.to_string());
    Exit::of(error)
}

fn url(args: &StoreArgs) -> Result<String, Exit> {
    if let Some(url) = &args.store {
        if has_password(url) {
            output::say(
                "hint: a password on the command line is seen by everybody who lists processes; \
                 ARBITER_STORE or --store-file hides it",
            );
        }
        return Ok(url.clone());
    }
    if let Some(path) = &args.store_file {
        return read(path);
    }
    if let Some(url) = std::env::var("ARBITER_STORE")
        .ok()
        .filter(|url| !url.is_empty())
    {
        return Ok(url);
    }
    if let Some(path) = std::env::var_os("ARBITER_STORE_FILE") {
        return read(path.as_ref());
    }
    output::say(
        "no store is named, and arbiter guesses none\n\
         name one: --store redis://127.0.0.1:6379, or ARBITER_STORE in the environment",
    );
    Err(Exit::Usage)
}

fn read(path: &std::path::Path) -> Result<String, Exit> {
    match std::fs::read_to_string(path) {
        Ok(url) => Ok(url.trim().to_owned()),
        Err(error) => {
            output::say(&format!(
                "cannot read the store's URL from {}: {error}",
                path.display()
            ));
            Err(Exit::Usage)
        }
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let credentials = authority
        .rsplit_once('@')
        .map_or("", |(credentials, _)| credentials);
    credentials.contains(':') || url.contains("pass=")
}
