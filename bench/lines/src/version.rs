//! The versions of a program's dependencies.

/// Returns the version of a crate, from the text of a `Cargo.lock`.
#[must_use]
pub fn version_in<'a>(lock: &'a str, package: &str) -> &'a str {
    lock.split_once(&format!("name = \"{package}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("of unknown version")
}
