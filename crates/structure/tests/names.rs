//! Names are standard terms, and each stands for one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

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

/// The most words that the name of a test may have.
const MOST_WORDS: usize = 8;

/// The folder whose public functions are tests of every store.
const CONFORMANCE: &str = "testkit/src/conformance";

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

/// Calls `visit` with the path and text of each Rust file below `folder`.
fn each_file(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            each_file(&path, visit);
        } else if path.extension().is_some_and(|end| end == "rs") {
            visit(&path, &fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// The name of the function that a line defines.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let name = line
        .strip_prefix("async ")
        .unwrap_or(line)
        .strip_prefix("fn ")?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()
}

/// The names of the functions that a text marks as tests.
fn tests(text: &str) -> Vec<&str> {
    let mut is_marked = false;
    let mut found = Vec::new();
    for line in text.lines() {
        let attribute = line.trim_start();
        is_marked |= attribute.starts_with("#[test]") || attribute.starts_with("#[tokio::test");
        if let Some(name) = function(line) {
            found.extend(is_marked.then_some(name));
            is_marked = false;
        }
    }
    found
}

fn is_long(name: &str) -> bool {
    MOST_WORDS < name.split('_').count()
}

#[test]
fn test_names_have_at_most_eight_words() {
    let nine = "a_b_c_d_e_f_g_h_i";
    for mark in ["#[test]", "#[tokio::test(start_paused = true)]\n#[ignore]"] {
        let text = format!("{mark}\nasync fn {nine}() {{}}\nfn {nine}() {{}}");
        assert_eq!(tests(&text), [nine]);
        assert!(is_long(nine) && !is_long(&nine[2..]));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut count, mut long) = (0, Vec::new());
    for folder in ["crates", "bench"] {
        each_file(&root.join(folder), &mut |path, text| {
            let mut names = tests(text);
            let is_suite = path.to_string_lossy().contains(CONFORMANCE);
            let public = |line: &&str| is_suite && line.starts_with("pub async fn ");
            names.extend(text.lines().filter(public).filter_map(function));
            count += names.len();
            long.extend(
                names
                    .into_iter()
                    .filter(|name| is_long(name))
                    .map(str::to_owned),
            );
        });
    }
    assert!(600 < count, "only {count} tests are found");
    assert!(long.is_empty(), "{long:#?}");
}
