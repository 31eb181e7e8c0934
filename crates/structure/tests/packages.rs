//! Published crates have what their packages need.

use std::fs;
use std::path::{Path, PathBuf};

const PUBLISHED: [&str; 3] = ["arbiter-lock-core", "arbiter-lock", "arbiter-lock-cli"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the value of a key of the section `[package]`, with its quotes or brackets.
fn value<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    let package = manifest.strip_prefix("[package]\n")?;
    let package = package.split("\n[").next()?;
    let mut lines = package.lines();
    lines.find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix("= "))
}

#[test]
fn packages_have_both_licenses_of_the_repository() {
    for krate in PUBLISHED {
        for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let path = Path::new("crates").join(krate).join(license);
            // A link does not survive packing on all systems.
            assert!(!root().join(&path).is_symlink(), "{}", path.display());
            assert!(read(&path) == read(license), "{} differs", path.display());
        }
    }
}

#[test]
fn manifests_of_packages_are_complete() {
    for krate in PUBLISHED {
        let manifest = read(format!("crates/{krate}/Cargo.toml"));
        for key in ["description", "documentation", "readme", "include"] {
            assert!(value(&manifest, key).is_some(), "{krate} has no {key}");
        }
        for key in ["keywords", "categories"] {
            let list = value(&manifest, key).unwrap_or_default();
            let count = list.split(", ").filter(|item| !item.is_empty()).count();
            assert!((1..=5).contains(&count), "{krate}: {key} = {list}");
        }
        assert!(read(format!("crates/{krate}/README.md")).starts_with(&format!("# {krate}\n")));
    }
}

#[test]
fn packages_read_no_file_outside_their_crate() {
    for krate in PUBLISHED {
        for source in structure::sources(&format!("crates/{krate}")) {
            let path = source.path.display();
            let above = source.path.components().count() - 2;
            let outside = "../".repeat(above);
            let is_outside = |line: &str| line.contains("include") && line.contains(&outside);
            let found = source.text.lines().find(|line| is_outside(line));
            assert_eq!(
                found, None,
                "{path} reads a file that its package does not have"
            );
        }
    }
}
