//! Text from other clients and servers, for terminals and logs.

use std::fmt;

/// Formats text for display, with unsafe characters escaped. They move the cursor, change the
/// direction of text, or are invisible.
///
/// These are the control characters, the format characters of Unicode (such as U+202E, which shows
/// the following text from right to left), line and paragraph separators, spaces other than the
/// common one, and characters that are not assigned. They become `\n` or `\u{202e}`, as in a Rust
/// string. Other characters, a backslash too, stay as they are. So text that was formatted is not
/// changed again.
///
/// All messages of this library use it, for names, labels, values, reasons and the text of servers.
/// Fields such as [`Listed::name`](crate::Listed::name) are as they are in the store.
///
/// # Examples
/// ```
/// use arbiter_lock::Printable;
///
/// assert_eq!(Printable("it's 5 Ω").to_string(), "it's 5 Ω");
/// assert_eq!(Printable("a\nb\u{202e}c").to_string(), r"a\nb\u{202e}c");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

/// Characters that `str::escape_debug` escapes and a terminal can show.
const SHOWN: [char; 3] = ['\\', '\'', '"'];

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(SHOWN) {
            let rest = part.trim_end_matches(SHOWN);
            write!(f, "{}{}", rest.escape_debug(), &part[rest.len()..])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_direction_characters_are_escaped() {
        let controls = (0..=0x9f)
            .filter_map(char::from_u32)
            .filter(|c| c.is_control());
        let others = "\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\
                      \u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}\u{e0001}";
        for c in controls.chain(others.chars()) {
            for text in [format!("{c}"), format!("a{c}'b"), format!("\\{c}\"")] {
                let shown = Printable(&text).to_string();
                assert!(!shown.contains(c), "{shown:?}");
                assert_eq!(Printable(&shown).to_string(), shown);
            }
        }
    }

    #[test]
    fn readable_text_stays_as_it_is() {
        for text in [
            "",
            "it's \"5\\6\"",
            "ünï Ω 中文 नमस्ते",
            "e\u{301}",
            "👩🏽",
            "\\n''\"\"",
        ] {
            assert_eq!(Printable(text).to_string(), text);
        }
    }
}
