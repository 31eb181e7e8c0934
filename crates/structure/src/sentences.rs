//! The first sentences of doc comments.

use crate::lexer::Item;
use crate::prose::Prose;

/// The most words of a first sentence.
const MOST_WORDS: usize = 20;

/// Words that end in `s` and are no verbs.
const NO_VERBS: [&str; 14] = [
    "This",
    "Its",
    "Is",
    "Was",
    "Has",
    "As",
    "Whereas",
    "Always",
    "Sometimes",
    "Seconds",
    "Milliseconds",
    "Microseconds",
    "Perhaps",
    "Plus",
];

/// Returns the mistake in the first sentence of an item's documentation, if there is one. The
/// sentence is long, or, for a function, does not begin with a verb in the third person.
#[must_use]
pub fn first_sentence_hit(prose: &Prose) -> Option<String> {
    if prose.item == Item::None {
        return None;
    }
    let sentence = first_sentence(&prose.lines);
    let words: Vec<&str> = sentence
        .split_whitespace()
        .filter(|word| is_word(word))
        .collect();
    if MOST_WORDS < words.len() {
        return Some(format!("{} words: {sentence}", words.len()));
    }
    let first = words.first()?.trim_end_matches(',');
    let is_verb = first.ends_with('s') && !NO_VERBS.contains(&first);
    let is_variant = sentence.starts_with("Blocking version of ");
    (prose.item == Item::Function && !is_verb && !is_variant)
        .then(|| format!("no verb in the third person: {sentence}"))
}

fn is_word(word: &str) -> bool {
    word.contains(char::is_alphanumeric)
}

/// Returns the text up to the end of the first sentence, or of the first paragraph.
fn first_sentence(lines: &[(usize, String)]) -> String {
    let lines = lines.iter().map(|(_, line)| line.trim());
    let lines: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    let text = lines.join(" ");
    let mut from = 0;
    while let Some(end) = text[from..].find(". ") {
        let end = from + end;
        let is_short_form = ["e.g", "i.e", "vs", "etc"]
            .iter()
            .any(|form| text[..end].ends_with(form));
        if !is_short_form {
            return text[..end].to_owned();
        }
        from = end + 2;
    }
    text
}
