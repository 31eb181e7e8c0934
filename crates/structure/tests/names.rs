//! Names are the field's, and each stands for one thing.

use std::collections::{BTreeMap, BTreeSet};

use structure::{Source, sources};

const CRATES: [&str; 4] = [
    "crates/arbiter-lock",
    "crates/arbiter-lock-cli",
    "crates/arbiter-lock-core",
    "crates/defects",
];

/// Type names that stand for something that has a name in the field.
const REPLACED: [&str; 14] = [
    "Apart",
    "Belief",
    "Ears",
    "Haste",
    "Nest",
    "Order",
    "Patience",
    "Said",
    "Sights",
    "Undertaker",
    "Way",
    "Weather",
    "Face",
    "World",
];

/// The types that a source defines at the top of its file.
fn types(source: &Source) -> BTreeSet<String> {
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let name = |line: &str| {
        let line = line.strip_prefix("pub").map_or(line, |rest| {
            rest.split_once(' ').map_or(rest, |(_, rest)| rest)
        });
        let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        let end = rest.find(|c: char| !c.is_alphanumeric());
        Some(rest[..end.unwrap_or(rest.len())].to_owned())
    };
    source.text.lines().filter_map(name).collect()
}

#[test]
fn no_type_name_stands_for_two_things() {
    for krate in CRATES {
        let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for source in sources(krate) {
            for name in types(&source) {
                let path = source.path.display().to_string();
                defined.entry(name).or_default().push(path);
            }
        }
        assert!(3 < defined.len(), "{krate} has hardly any type");
        defined.retain(|_, places| 1 < places.len());
        assert!(defined.is_empty(), "{krate}: {defined:#?}");
    }
}

#[test]
fn library_types_have_no_replaced_name() {
    for source in sources("crates/arbiter-lock") {
        let found = types(&source);
        let replaced: Vec<_> = REPLACED
            .iter()
            .filter(|name| found.contains(**name))
            .collect();
        assert!(
            replaced.is_empty(),
            "{}: {replaced:?}",
            source.path.display()
        );
    }
}

#[test]
fn few_files_stand_beside_the_folders() {
    let modules = sources("crates/arbiter-lock");
    let beside: Vec<_> = modules
        .iter()
        .filter(|source| source.path.components().count() == 4)
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(beside.len() <= 10, "{beside:#?}");
}
