//! Crates do not grow unnoticed.

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
