//! Crates and files do not grow unnoticed.

use std::fs;
use std::path::Path;

use structure::sources;

/// The maximum number of lines of code in the sources of a crate, without tests, comments and
/// blanks. A change that needs more raises the number.
const MOST_LINES: [(&str, usize); 3] = [
    ("crates/arbiter-lock", 24_160),
    ("crates/arbiter-lock-cli", 6_480),
    ("crates/arbiter-lock-core", 1_970),
];

#[test]
fn crates_stay_within_their_size() {
    for (krate, most) in MOST_LINES {
        let sources = sources(krate);
        let lines = sources.iter().flat_map(|source| source.text.lines());
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        let count = lines.filter(is_code).count();
        println!("{krate}: {count} lines");
        assert!(count <= most, "{krate} has {count} lines of code");
        assert!(most < count + 500, "{krate} has only {count} lines of code");
    }
}

/// The maximum number of lines of a file. A longer one has two subjects.
const MOST_LINES_OF_A_FILE: usize = 500;

#[test]
fn files_have_one_subject() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = vec![root.join("crates"), root.join("bench")];
    let (mut read, mut long) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let end = path.extension().and_then(|end| end.to_str());
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if matches!(end, Some("rs" | "lua" | "sql")) {
                let lines = fs::read_to_string(&path).expect("a text").lines().count();
                read += 1;
                if MOST_LINES_OF_A_FILE < lines {
                    long.push((path, lines));
                }
            }
        }
    }
    assert!(300 < read && long.is_empty(), "{read} files: {long:#?}");
}
