//! Comments, messages and pages are in plain technical English.

use std::collections::BTreeMap;
use std::path::Path;

use structure::{Item, Kind, Prose, first_sentence_hit, hits, of_file, prose};

/// The maximum number of phrases to replace, per 1,000 words of each kind.
const MOST_PER_1_000: [(Kind, f64); 3] = [
    (Kind::Page, 0.3),
    (Kind::Comment, 0.3),
    (Kind::Message, 0.3),
];

/// The maximum number of lines of `exceptions.txt`.
const MOST_EXCEPTIONS: usize = 10;

fn of(path: &str, text: &str) -> Vec<Prose> {
    of_file(Path::new(path), text)
}

fn phrases(path: &str, text: &str) -> Vec<String> {
    let pieces = of(path, text);
    let found = pieces.iter().flat_map(hits);
    found.map(|hit| hit.phrase).collect()
}

/// Returns the exceptions: a path, and a phrase or the first words of a sentence.
fn exceptions() -> Vec<(String, String)> {
    let text = include_str!("../exceptions.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<_> = lines.collect();
    assert!(lines.len() <= MOST_EXCEPTIONS, "{lines:#?}");
    let parts = lines.into_iter().map(|line| line.split_once(": "));
    let parts = parts.map(|parts| parts.expect("a path and a phrase"));
    parts
        .map(|(path, phrase)| (path.to_owned(), phrase.to_owned()))
        .collect()
}

#[test]
fn prose_is_plain() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let exceptions = exceptions();
    let mut unused = exceptions.clone();
    let mut counts: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
    let mut sentences = 0;
    for prose in prose(&root) {
        let path = prose.path.display().to_string();
        let mut is_excepted = |found: &str| {
            let is_it = |(of, part): &&(String, String)| *of == path && found.contains(&**part);
            let exception = exceptions.iter().find(is_it);
            unused.retain(|other| Some(other) != exception);
            exception.is_some()
        };
        let (words, found) = counts.entry(prose.kind).or_default();
        *words += prose.words();
        for hit in hits(&prose) {
            if !is_excepted(&hit.phrase) {
                println!(
                    "{path}:{}: {}; write: {}",
                    hit.line, hit.phrase, hit.instead
                );
                *found += 1;
            }
        }
        let first = first_sentence_hit(&prose).filter(|hit| !is_excepted(hit));
        if let (Some(hit), Some((line, _))) = (first, prose.lines.first()) {
            println!("{path}:{line}: {hit}");
            sentences += 1;
        }
    }
    for (kind, most) in MOST_PER_1_000 {
        let (words, found) = counts[&kind];
        let rate = 1_000.0 * found as f64 / words as f64;
        println!("{kind:?}: {found} of {words} words, {rate:.2} per 1,000");
        assert!(3_000 < words, "hardly any {kind:?} is found");
        assert!(rate <= most, "{kind:?}: {rate:.2} per 1,000 words");
    }
    assert_eq!(sentences, 0, "first sentences of comments");
    assert!(unused.is_empty(), "exceptions without a use: {unused:#?}");
}

#[test]
fn phrases_to_replace_are_found() {
    for (text, phrase) in [
        ("Whoever holds the lock is told.", "whoever"),
        ("Those who wait are granted in order.", "who"),
        ("One\nwho polls.", "who"),
        ("Returns what is left.", "what is"),
        ("It lasts at\nthe most 5 s.", "at the most"),
        ("The wait begins anew.", "anew"),
        ("Blanks around it are none of it.", "none of it"),
        ("A hand-over to the next.", "hand-over"),
        ("The lease lapses.", "lapses"),
        ("Each look costs a request.", "look"),
        ("The waiter looked last.", "looked"),
        ("A waiter below the floor.", "floor"),
        ("The holder is told of it.", "is told"),
        ("It tries for ever.", "for ever"),
        ("The behaviour is the same.", "behaviour"),
        ("It was cancelled.", "cancelled"),
        ("It serialises the record.", "serialises"),
    ] {
        let found = phrases("docs/a.md", text);
        assert!(
            found.iter().any(|found| found == phrase),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn standard_terms_are_no_hits() {
    for text in [
        "The holder is notified, and the waiter polls again.",
        "`floor`, `who` and\n`what is` are code.",
        "Where to look: look at the queue, or look up the key.",
        "What is a lease? Who holds it?",
        "The value of a foreign key.",
        "```\nnobody looks\n```",
        "It takes at most 5 s, and serves the client.",
        "A specialist has realistic limits.",
    ] {
        assert_eq!(phrases("docs/a.md", text), [""; 0], "{text}");
    }
}

#[test]
fn comments_and_messages_are_read() {
    let text = concat!(
        "//! Whoever reads.\n",
        "fn f() {\n    let c = '\"'; // anew\n",
        "    say(\"the lock lapses for {who} now\");\n",
        "    let sql = \"SELECT name FROM gate\";\n    let r = r#\"it is \"told\" so\"#;\n}\n",
        "#[cfg(test)]\nmod tests {\n    const A: &str = \"the gate is in a test\";\n}\n",
    );
    let found = phrases("crates/a/src/a.rs", text);
    assert_eq!(found, ["whoever", "anew", "lapses", "is told"]);
    assert_eq!(phrases("crates/a/tests/a.rs", text), ["whoever", "anew"]);
    assert_eq!(
        phrases("a.lua", "-- Nobody waits.\nlocal nobody = 1"),
        ["nobody"]
    );
    assert_eq!(
        phrases("scripts/test", "#!/bin/sh\n# In vain.\necho gate"),
        ["in vain"]
    );
    assert_eq!(phrases("a.json", "\"nobody\""), [""; 0]);
    let hit = &hits(&of("a.lua", "\n\n-- It is\n-- told.")[0])[0];
    assert_eq!((hit.line, &*hit.phrase), (3, "is told"));
}

#[test]
fn first_sentences_are_checked() {
    let long = "word ".repeat(21);
    for (text, is_hit) in [
        ("/// Returns the name.\nfn name() {}".to_owned(), false),
        (
            "/// Writes, if it may.\npub(crate) async fn write() {}".to_owned(),
            false,
        ),
        (
            "/// Blocking version of `a`.\npub const fn b() {}".to_owned(),
            false,
        ),
        (
            "/// The name.\n#[must_use]\npub fn name() {}".to_owned(),
            true,
        ),
        ("/// This is the name.\nfn name() {}".to_owned(), true),
        ("/// The name.\nname: String,".to_owned(), false),
        (
            "/// A queue stays in order.\n#[test]\nfn order() {}".to_owned(),
            false,
        ),
        (format!("/// {long}.\npub struct A;"), true),
        (format!("/// A type. {long}.\npub struct A;"), false),
        (format!("/// A type, e.g. {long}.\npub struct A;"), true),
        (
            format!("/// A type\n///\n/// {long}.\npub struct A;"),
            false,
        ),
        (format!("//! {long}.\n"), false),
    ] {
        let found = of("crates/a/src/a.rs", &text);
        assert_eq!(
            found
                .iter()
                .any(|prose| first_sentence_hit(prose).is_some()),
            is_hit,
            "{text}"
        );
    }
    let field = &of("a.rs", "/// The name.\npub name: String,")[0];
    assert_eq!(field.item, Item::Other);
}
