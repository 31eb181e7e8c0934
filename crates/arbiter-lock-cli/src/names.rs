//! Names of locks for the completions of a shell.

use std::ffi::OsStr;
use std::time::Duration;

use arbiter_lock::{ClientBuilder, Error, NoopLogger, Printable};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use tokio::time::timeout;

/// How long a shell waits for names.
const LIMIT: Duration = Duration::from_millis(700);
/// How many names are offered.
const MOST: usize = 200;

/// Returns the completer for the names of locks in the store that the environment names.
pub(crate) fn completer() -> ArgValueCompleter {
    ArgValueCompleter::new(names)
}

fn names(begun: &OsStr) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy().into_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let mut names = Vec::new();
    // A shell is not kept waiting, and an error would spoil its line.
    let listing = async { timeout(LIMIT, list(&begun, &mut names)).await };
    let _ = runtime.block_on(listing);
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// Adds the names that begin like that.
async fn list(begun: &str, names: &mut Vec<String>) -> Result<(), Error> {
    let builder = ClientBuilder::from_env()?;
    let client = builder.logger(NoopLogger).connect_lazy()?;
    let mut list = client.list("*");
    while let Some(listed) = list.next().await? {
        // A name that cannot be shown cannot be typed, and its escaped form is another name.
        let can_be_typed = Printable(&listed.name).to_string() == listed.name;
        if can_be_typed && listed.name.starts_with(begun) {
            names.push(listed.name);
        }
        if MOST <= names.len() {
            break;
        }
    }
    Ok(())
}
