//! Names are standard terms, and each names one thing.

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

/// Type names for which the field has a standard term.
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

/// Crates in which no function, type, field or module is named by one of [`WORDS`].
const REVIEWED: [&str; 3] = [
    "crates/arbiter-lock-core",
    "crates/arbiter-lock",
    "crates/arbiter-lock-cli",
];

/// Words for which the field has a standard term.
const WORDS: [&str; 31] = [
    "apart",
    "belief",
    "buried",
    "bury",
    "deaf",
    "ears",
    "face",
    "first_life",
    "floor",
    "foreign",
    "gate",
    "hand_over",
    "handed",
    "haste",
    "lapse",
    "lapsed",
    "life",
    "life_ms",
    "lives",
    "look",
    "looked",
    "nobody",
    "pass_over",
    "passed_over",
    "patience",
    "said",
    "seized",
    "sights",
    "undertaker",
    "vanished",
    "weather",
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

/// The name of the function, type, module or field that a line defines. A parameter on a line of its
/// own, and a field of a struct expression, count as fields.
fn defined(line: &str) -> Option<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut line = line.trim_start();
    if let Some(rest) = line.strip_prefix("pub") {
        line = match rest.strip_prefix('(') {
            Some(rest) => rest.split_once(") ")?.1,
            None => rest.strip_prefix(' ').unwrap_or(line),
        };
    }
    for qualifier in ["const ", "async ", "unsafe "] {
        line = line.strip_prefix(qualifier).unwrap_or(line);
    }
    let kinds = ["fn ", "mod ", "struct ", "enum ", "trait ", "type "];
    let item = kinds.iter().find_map(|kind| line.strip_prefix(kind));
    let text = item.unwrap_or(line);
    let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
    let is_field = rest.starts_with(": ");
    (!name.is_empty() && (item.is_some() || is_field)).then_some(name)
}

/// The words of a name, in lower case: of `PassedOver` and `passed_over` the same ones.
fn words_of(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            spaced.push('_');
        }
        spaced.extend(c.to_lowercase());
    }
    let words = spaced.split('_').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

fn is_replaced(name: &str) -> bool {
    let name = words_of(name);
    WORDS.iter().any(|words| {
        let words = words_of(words);
        name.windows(words.len()).any(|part| part == words)
    })
}

#[test]
fn reviewed_crates_define_no_replaced_word() {
    for (line, name) in [
        ("    pub(super) fn passed_over(&self) {", "passed_over"),
        ("pub const fn first_life_ms(lease_ms: u64)", "first_life_ms"),
        ("pub struct PassedOver {", "PassedOver"),
        ("mod hand_over;", "hand_over"),
        ("    pub life_ms: u64,", "life_ms"),
    ] {
        assert_eq!(defined(line), Some(name));
        assert!(is_replaced(name), "{name}");
    }
    assert_eq!(defined("    self.look(contender)"), None);
    assert!(!is_replaced("overlook_faces"));
    for krate in REVIEWED {
        let (mut count, mut found) = (0, Vec::new());
        for source in sources(krate) {
            let modules = source.module.split("::");
            let names = source.text.lines().filter_map(defined).chain(modules);
            let path = source.path.display();
            for name in names {
                count += 1;
                found.extend(is_replaced(name).then(|| format!("{path}: {name}")));
            }
        }
        assert!(100 < count, "{krate} has hardly any name");
        assert!(found.is_empty(), "{found:#?}");
    }
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
    for mark in [
        "#[test]",
        "#[tokio::test(start_paused = true)]\n#[cfg(unix)]",
    ] {
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
