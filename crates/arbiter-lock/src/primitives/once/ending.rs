//! The end of a run as a line in the store: `ok` or `failed`, and a text.

use std::sync::Arc;

/// The maximum length of the recorded text, in bytes.
const MAX_BYTES: usize = 1_024;

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending<'a> {
    Well(&'a str),
    Failed(&'a str),
}

impl<'a> Ending<'a> {
    /// Parses a line of [`Ending::to_line`]. Any other line is a failure.
    pub(super) fn of(line: &'a str) -> Self {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ok", note) => Self::Well(note),
            ("failed", why) => Self::Failed(why),
            _ => Self::Failed(line),
        }
    }

    pub(super) fn is_well(&self) -> bool {
        matches!(self, Self::Well(_))
    }

    pub(super) fn to_line(&self) -> Arc<str> {
        let (word, text) = match self {
            Self::Well(note) => ("ok", *note),
            Self::Failed(why) => ("failed", *why),
        };
        let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(|end| *end <= MAX_BYTES).last();
        match &text[..end.unwrap_or_default()] {
            "" => word.into(),
            text => format!("{word} {text}").into(),
        }
    }
}

impl<'a> From<Result<&'a str, &'a str>> for Ending<'a> {
    fn from(outcome: Result<&'a str, &'a str>) -> Self {
        match outcome {
            Ok(note) => Self::Well(note),
            Err(why) => Self::Failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ending;

    #[test]
    fn ending_survives_the_store() {
        for ending in [
            Ending::Well(""),
            Ending::Well("3 rows of 4"),
            Ending::Failed(""),
            Ending::Failed("exit status 3"),
        ] {
            assert_eq!(Ending::of(&ending.to_line()), ending);
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ä".repeat(2_000);
        let line = Ending::Failed(&text[..]).to_line();
        assert_eq!(Ending::of(&line), Ending::Failed(&text[..1_024]));
        let text = format!("x{text}");
        assert_eq!(Ending::Well(&text).to_line().len(), "ok ".len() + 1_023);
    }

    #[test]
    fn unknown_ending_is_a_failure() {
        assert_eq!(Ending::of("okay"), Ending::Failed("okay"));
        assert_eq!(Ending::of(""), Ending::Failed(""));
    }
}
