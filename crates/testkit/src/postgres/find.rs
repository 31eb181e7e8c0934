//! Finds the programs of PostgreSQL.

use std::path::PathBuf;

/// Returns the path of a program of the newest version, or on the path.
pub(super) fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<_> = versions
        .map(|version| version.path())
        .filter(|version| version.join("bin").join(name).is_file())
        .collect();
    found.sort_by_key(|version| {
        let number = version.file_name().and_then(|name| name.to_str());
        number.and_then(|number| number.parse::<u32>().ok())
    });
    let newest = found.pop().map(|version| version.join("bin").join(name));
    newest.unwrap_or_else(|| name.into())
}
