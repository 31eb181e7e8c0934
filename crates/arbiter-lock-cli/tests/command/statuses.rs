//! The statuses in the documentation, in the help and in the program.

use std::collections::BTreeSet;

use crate::helpers::{bare, output};

/// Returns the numbers of a text that are exit statuses of arbiter.
fn numbers(text: &str) -> BTreeSet<u8> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Returns the statuses of the table in the page about the command.
fn documented() -> BTreeSet<u8> {
    let page = include_str!("../../../../docs/command.md");
    let table = page.split("### Statuses").nth(1).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    first.flat_map(numbers).collect()
}

/// Returns the statuses of the program.
fn coded() -> BTreeSet<u8> {
    let code = include_str!("../../src/exit.rs");
    let arms = code.split("pub(crate) const fn status").nth(1).unwrap();
    let arms = arms.split("/// Returns the exit").next().unwrap();
    let values = arms.lines().filter_map(|line| line.split_once("=> "));
    values
        .filter_map(|(_, value)| value.trim_end_matches(',').parse().ok())
        .collect()
}

#[test]
fn page_help_and_program_have_the_same_statuses() {
    let (_, help, _) = output(bare(&["--help"]));
    let statuses = help.split("Exit statuses:").nth(1).unwrap();
    // `doctor` has a finding: it is no exit of its own. 0 is success.
    let coded: BTreeSet<u8> = coded()
        .into_iter()
        .filter(|status| *status != 0)
        .chain([1])
        .collect();
    assert_eq!(documented(), coded);
    assert_eq!(numbers(statuses), coded);
    assert!(10 < coded.len(), "{coded:?}");
}
