//! Phrases for which plain technical English has a shorter or clearer one.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::prose::Prose;

/// The phrases, one in a line, which also describes their format.
const LIST: &str = include_str!("../phrases.txt");

/// A phrase to replace.
#[derive(Clone, Copy)]
struct Rule {
    pattern: &'static str,
    /// Phrases of which the pattern may be a part, with commas.
    unless: &'static str,
    /// The words to write.
    instead: &'static str,
}

impl Rule {
    fn parse(line: &'static str) -> Self {
        let parts = line.split_once(" -> ");
        let (pattern, rest) = parts.unwrap_or_else(|| panic!("no rule: {line}"));
        let (instead, unless) = rest.split_once(" ; unless: ").unwrap_or((rest, ""));
        Self {
            pattern,
            unless,
            instead,
        }
    }
}

/// A phrase that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The line on which it begins.
    pub line: usize,
    /// The phrase as it was found.
    pub phrase: String,
    /// The words to write.
    pub instead: &'static str,
}

/// A word in lower case, or a punctuation mark, and its line.
type Token = (usize, String);

/// Rules by the first word of their matches, and rules that begin with a stem by its first letter.
struct Index {
    by_word: HashMap<&'static str, Vec<Rule>>,
    by_stem: HashMap<char, Vec<Rule>>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let (mut by_word, mut by_stem) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
    let is_rule = |line: &&str| !line.is_empty() && !line.starts_with('#');
    for rule in LIST.lines().filter(is_rule).map(Rule::parse) {
        let first = rule.pattern.split(' ').next().unwrap_or_default();
        for form in first.split('|') {
            if let (true, Some(initial)) = (form.ends_with(['*', '^']), form.chars().next()) {
                by_stem.entry(initial).or_default().push(rule);
            } else {
                by_word.entry(form).or_default().push(rule);
            }
        }
    }
    Index { by_word, by_stem }
});

/// Returns the phrases in a piece of prose that are to be replaced.
#[must_use]
pub fn hits(prose: &Prose) -> Vec<Hit> {
    let tokens = tokens(&prose.lines);
    let (mut found, mut end) = (Vec::new(), 0);
    for (at, (line, word)) in tokens.iter().enumerate() {
        if at < end {
            continue;
        }
        let rules = INDEX.by_word.get(&**word).into_iter().flatten();
        let initial = word.chars().next();
        let stems = initial.and_then(|initial| INDEX.by_stem.get(&initial));
        let rule = rules.chain(stems.into_iter().flatten()).find_map(|rule| {
            let length = matching(rule.pattern, &tokens[at..])?;
            let is_right = is_part_of(rule.unless, &tokens, at, length);
            (!is_right).then_some((rule, length))
        });
        if let Some((rule, length)) = rule
            && !is_question(&tokens[at..])
        {
            end = at + length;
            let words = tokens[at..end].iter().map(|(_, word)| &**word);
            found.push(Hit {
                line: *line,
                phrase: words.collect::<Vec<_>>().join(" "),
                instead: rule.instead,
            });
        }
    }
    found
}

/// Splits lines into words and punctuation marks. A span of code is one token.
fn tokens(lines: &[(usize, String)]) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut is_code = false;
    for (number, line) in lines {
        let mut word = String::new();
        for c in line.chars().chain(['\n']) {
            let is_part = c.is_alphanumeric() || matches!(c, '-' | '\'' | '_');
            if c == '`' {
                is_code = !is_code;
                found.extend(is_code.then(|| (*number, "`".to_owned())));
            } else if is_code {
                continue;
            } else if is_part {
                word.extend(c.to_lowercase());
                continue;
            }
            let ended = std::mem::take(&mut word);
            let ended = ended.trim_matches(['-', '\'', '_']).to_owned();
            found.extend((!ended.is_empty()).then_some((*number, ended)));
            let is_mark = matches!(c, '.' | ',' | ';' | ':' | '?' | '!' | '(' | ')' | '|');
            found.extend((is_mark && !is_code).then(|| (*number, c.to_string())));
        }
    }
    found
}

/// Returns how many tokens at the front match the pattern.
fn matching(pattern: &str, tokens: &[Token]) -> Option<usize> {
    let mut count = 0;
    for forms in pattern.split(' ') {
        let (_, word) = tokens.get(count)?;
        let is_form = |form: &str| {
            let stem = form.trim_end_matches(['*', '^']);
            let rest = word.strip_prefix(stem);
            rest.is_some_and(|rest| match &form[stem.len()..] {
                "*" => true,
                "^" => rest.starts_with(['a', 'e', 'i']),
                _ => rest.is_empty(),
            })
        };
        if !forms.split('|').any(is_form) {
            return None;
        }
        count += 1;
    }
    Some(count)
}

/// Returns whether the match is a part of one of the phrases.
fn is_part_of(phrases: &str, tokens: &[Token], at: usize, length: usize) -> bool {
    let mut phrases = phrases.split(", ").filter(|phrase| !phrase.is_empty());
    phrases.any(|phrase| {
        let before = phrase.split(' ').count() - 1;
        (at.saturating_sub(before)..=at).any(|from| {
            let matched = matching(phrase, &tokens[from..]);
            matched.is_some_and(|matched| at + length <= from + matched)
        })
    })
}

/// Returns whether the sentence is a question, in which `who` and `what` are right.
fn is_question(tokens: &[Token]) -> bool {
    let is_end = |(_, token): &&Token| matches!(&**token, "." | "?" | "!" | "|" | ";");
    tokens
        .iter()
        .find(is_end)
        .is_some_and(|(_, end)| end == "?")
}
