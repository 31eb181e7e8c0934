//! What a program was built with.

/// The version of a crate, as the text of a `Cargo.lock` tells it.
#[must_use]
pub fn version_in<'a>(lock: &'a str, package: &str) -> &'a str {
    lock.split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("of unknown version")
}
