//! Every defect applies to the sources and names existing tests. So does every guarantee.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Appends the text of all sources below a folder.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_defect_changes_exactly_one_place() {
    let is_broken = |defect: &&defects::Defect| {
        let text = std::fs::read_to_string(project().join(defect.file)).unwrap();
        text.matches(defect.was).count() != 1 || defect.was == defect.put_back
    };
    let all = defects::all();
    let broken: Vec<_> = all.iter().filter(is_broken).map(|d| d.name).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_defect_is_listed_twice() {
    let mut names = HashSet::new();
    let mut changes = HashSet::new();
    for defect in defects::all() {
        assert!(names.insert(defect.name), "{}", defect.name);
        assert!(
            changes.insert((defect.file, defect.put_back)),
            "{}",
            defect.name
        );
    }
    assert!(40 <= names.len());
}

#[test]
fn catching_tests_exist() {
    let mut text = String::new();
    for folder in ["arbiter-lock", "arbiter-lock-core", "testkit"] {
        sources(&project().join("crates").join(folder), &mut text);
    }
    for defect in defects::all() {
        for test in defect.caught_by.tests() {
            assert!(
                text.contains(test),
                "{test}, which is to catch: {}",
                defect.name
            );
        }
    }
}

#[test]
fn each_guarantee_names_tests_that_exist() {
    let mut text = String::new();
    sources(&project().join("crates"), &mut text);
    let page = std::fs::read_to_string(project().join("docs/guarantees.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let rows = rows.filter(|line| !line.starts_with("| failure |"));
    let mut named = 0;
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        // A name, or its beginning with an ellipsis.
        let names = tests.split('`').skip(1).step_by(2);
        let names: Vec<&str> = names.map(|name| name.trim_end_matches('…')).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            let is_there = text.contains(&format!("fn {name}")) || name.ends_with(".rs");
            assert!(is_there, "{name}");
            named += 1;
        }
    }
    assert!(30 <= named, "{named}");
}
