//! Finds the servers on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary of a server, and its version.
#[derive(Clone, Debug)]
pub struct Flavour {
    /// Its `--version` output in short form: `redis 7.0.15`.
    pub name: String,
    /// Its path.
    pub binary: PathBuf,
}

const VARIABLE: &str = "ARBITER_TEST_SERVER";

/// Returns the default server: that of `ARBITER_TEST_SERVER`, `redis-server` or `valkey-server` on
/// the path, or one unpacked under `target/servers`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn server_binary() -> PathBuf {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return path.into();
    }
    candidates().into_iter().next().unwrap_or_else(|| {
        panic!("no redis-server on the path and none under target/servers: run ./scripts/test, which gets one")
    })
}

/// Returns every server that can be found, that of [`server_binary`] first.
#[must_use]
pub fn flavours() -> Vec<Flavour> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let mut found: Vec<Flavour> = Vec::new();
    for binary in named.into_iter().chain(candidates()) {
        let Some(name) = version(&binary) else {
            continue;
        };
        if found.iter().all(|other| other.name != name) {
            found.push(Flavour { name, binary });
        }
    }
    found
}

fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = ["redis-server", "valkey-server"]
        .into_iter()
        .flat_map(|name| {
            std::env::split_paths(&path)
                .map(move |folder| folder.join(name))
                .collect::<Vec<_>>()
        });
    let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers");
    let unpacked = entries(&servers)
        .into_iter()
        .flat_map(|folder| binaries_below(&folder, 4));
    on_path
        .chain(unpacked)
        .filter(|binary| binary.is_file())
        .collect()
}

fn binaries_below(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if matches!(name.as_deref(), Some("redis-server" | "valkey-server")) && path.is_file() {
            found.push(path);
        } else if path.is_dir() && 0 < depth {
            found.extend(binaries_below(&path, depth - 1));
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    paths
}

/// Parses `Redis server v=7.0.15 …` or `Valkey server v=9.1.0 …`.
fn version(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kind = text.split_whitespace().next()?.to_lowercase();
    let version = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="))?;
    Some(format!("{kind} {version}"))
}
