//! Phrases for which plain technical English has a shorter or clearer one.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::prose::Prose;

/// A phrase to replace.
struct Rule {
    /// The words, each with its forms: `is|are told`. A form ends with `*` if it is a stem, and with
    /// `^` if it is the stem of a verb.
    pattern: &'static str,
    /// Phrases of which the pattern may be a part.
    unless: &'static [&'static str],
    /// What to write.
    instead: &'static str,
}

const fn rule(pattern: &'static str, instead: &'static str) -> Rule {
    unless(pattern, &[], instead)
}

const fn unless(
    pattern: &'static str,
    unless: &'static [&'static str],
    instead: &'static str,
) -> Rule {
    Rule {
        pattern,
        unless,
        instead,
    }
}

/// Subjects that name no thing of the program.
static SUBJECTS: &[Rule] = &[
    rule(
        "who|whom|whoever|whomever",
        "the holder, the waiter, the client",
    ),
    rule("nobody|somebody|anybody|everybody", "no client, a client"),
    rule("someone|anyone|everyone", "no client, a client"),
    rule("the one|ones that|which|who|whose", "the noun"),
    rule("a|no|any one that", "the noun"),
    rule("what is|was|are|were|has|had|have", "the noun"),
    rule("what it|they|he|she|one|we|you", "the noun"),
    rule("whatever", "the noun; any"),
    rule("none of it|its|them", "not, no"),
    rule("of its|their own accord", "without a request"),
];

/// Verbs and adverbs.
static VERBS: &[Rule] = &[
    rule(
        "is|are|was|were|be|been|being told",
        "is notified, receives",
    ),
    rule("tells|telling|told", "reports, notifies, returns"),
    rule("tell", "report, notify, distinguish"),
    rule("says|said|saying", "reports, states, returns"),
    rule("hears|heard|hear|hearing", "receives"),
    rule(
        "believes|believed|believe|belief|beliefs",
        "assumes; validity",
    ),
    rule("at the most|least|latest|earliest", "at most, at least, by"),
    rule("anew|afresh", "again"),
    rule("for ever", "forever"),
    rule("for good", "permanently"),
    rule("in vain", "without success"),
    rule("goes|go|going|went on", "continues"),
    rule("as long as it|they pleases|please|likes|like", "any time"),
    rule("is|are|was|were|be gone", "no longer exists, has ended"),
    rule(
        "stands|stand for|in|on|at|behind|before|beside|after",
        "is, represents",
    ),
    rule(
        "lately|hitherto|thereby|whilst|amid|lest|albeit",
        "the usual word",
    ),
    rule(
        "hence|henceforth|thereof|therein|whereof|whence|upon",
        "the usual word",
    ),
    rule("as it were", "the usual words"),
    rule("to be had", "available"),
    rule("once more", "again"),
    rule("takes|take|taking part", "participates"),
    rule("heeds|heed|heeded|heeding", "obeys, considers"),
    rule("dares|dare|deems|deem|deemed|trusts to", "the usual word"),
    rule("comes|come|came to nothing", "fails, has no effect"),
    rule("keeps|keep still|silent|quiet", "sends nothing"),
];

/// Invented words of the field, which has a standard term for each.
static WORDS: &[Rule] = &[
    rule("face|faces", "primitive"),
    unless(
        "look|looks|looked|looking",
        &[
            "look|looks|looked|looking at|up|in|into|like|for|through|only|where|inside|past",
            "where to look",
        ],
        "poll",
    ),
    rule("lapse|lapses|lapsed|lapsing", "expire"),
    rule("first life|lives", "provisional TTL"),
    rule("floor|floors", "liveness cutoff"),
    rule("buried|bury|buries|burial", "tombstone"),
    rule("pass|passes|passed|passing over", "skip"),
    rule("handover|handovers|hand-over|hand-overs", "hand-off"),
    rule("hand|hands|handed|handing over|on", "hand off"),
    unless("foreign", &["foreign key|keys"], "external"),
    rule(
        "seize|seizes|seized|vanish|vanishes|vanished",
        "take, disappear",
    ),
    rule("patience|impatient|patient|patiently", "wait limit"),
    rule("ears|ear|deaf|deafness", "subscription"),
    rule("gate|gates", "file lock"),
    rule("undertaker|undertakers", "reaper"),
    rule("weather|calm|disturb|disturbs|disturbed", "fault injection"),
    rule(
        "sights|bystander|bystanders|puppet|puppets",
        "counters, helpers",
    ),
    rule("liar|liars|moods", "malicious server, server states"),
    rule("haste|hasty|apart from", "the usual word"),
    rule("good|bad day|days", "the usual word"),
];

/// British spelling.
static SPELLING: &[Rule] = &[
    rule(
        "behaviour*|colour*|honour*|favour*|neighbour*|labour*",
        "-or",
    ),
    rule("centre*|metre|metres|theatre|fibre*|calibre", "-er"),
    rule("licence*|defence*|offence*|pretence", "-se"),
    rule(
        "cancelled|cancelling|travelled|travelling|labelled|labelling",
        "one l",
    ),
    rule(
        "signalled|signalling|modelled|modelling|marshalled|channelled",
        "one l",
    ),
    rule(
        "recognis^|serialis^|initialis^|organis^|realis^|normalis^",
        "-ize",
    ),
    rule(
        "synchronis^|prioritis^|optimis^|summaris^|minimis^|maximis^",
        "-ize",
    ),
    rule(
        "authoris^|customis^|generalis^|specialis^|finalis^|utilis^",
        "-ize",
    ),
    rule(
        "deserialis^|randomis^|parametris^|standardis^|categoris^",
        "-ize",
    ),
    rule(
        "analyse|analysed|analysing|paralyse*|catalogue*|dialogue*",
        "-yze, -og",
    ),
    rule("grey|towards|afterwards|amongst|learnt", "gray, toward"),
    rule(
        "judgement*|acknowledgement of receipt|artefact*|programme",
        "judgment",
    ),
    rule(
        "fulfil|fulfils|enrol|enrols|skilful|ageing|practise*|cheque",
        "fulfill",
    ),
    rule(
        "initialisation|whilst|tyre*|kerb|storey*|plough*|sceptic*",
        "American",
    ),
];

/// A phrase that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The line on which it begins.
    pub line: usize,
    /// The phrase as it was found.
    pub phrase: String,
    /// What to write.
    pub instead: &'static str,
}

/// A word in lower case, or a punctuation mark, and its line.
type Token = (usize, String);

/// Rules by the first word of their matches, and rules that begin with a stem by its first letter.
struct Index {
    by_word: HashMap<&'static str, Vec<&'static Rule>>,
    by_stem: HashMap<char, Vec<&'static Rule>>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let (mut by_word, mut by_stem) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
    for rule in [SUBJECTS, VERBS, WORDS, SPELLING].into_iter().flatten() {
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
fn is_part_of(phrases: &[&str], tokens: &[Token], at: usize, length: usize) -> bool {
    phrases.iter().any(|phrase| {
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
