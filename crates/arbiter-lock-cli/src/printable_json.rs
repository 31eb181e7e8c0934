//! JSON for terminals.

use std::fmt;

use arbiter_lock::Printable;
use serde_json::Value;

/// Formats a JSON value, with the characters escaped that [`Printable`] escapes. The value stays the
/// same.
pub(crate) struct PrintableJson<'a>(pub(crate) &'a Value);

impl fmt::Display for PrintableJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = self.0.to_string();
        let (mut units, mut bytes) = ([0; 2], [0; 4]);
        for c in json.chars() {
            // They are in strings only.
            let text = &*c.encode_utf8(&mut bytes);
            if c.is_ascii_graphic() || c == ' ' || Printable(text).to_string() == text {
                f.write_str(text)?;
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(f, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn escaped_value_is_the_same() {
        let value =
            json!({"a\u{202e}b": ["\n\u{7f}\u{2028}", "ünï \"x\\y\"", "\u{e0001}", 7, null]});
        let shown = PrintableJson(&value).to_string();
        assert_eq!(shown, Printable(&shown).to_string());
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }
}
