//! Quoting for a shell.

use arbiter_lock::Printable;

/// Quotes a word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if Printable(word).to_string() != word {
        // They must not reach the terminal.
        return format!("$'{}'", ansi_c(word));
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Escapes a word for `$'…'`, by bytes: a code point depends on the locale of the shell.
fn ansi_c(word: &str) -> String {
    let escaped = |c: char| match c {
        '\'' | '\\' => format!("\\{c}"),
        c if Printable(&c.to_string()).to_string() == c.to_string() => c.to_string(),
        c => c
            .to_string()
            .bytes()
            .map(|byte| format!("\\x{byte:02x}"))
            .collect(),
    };
    word.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        for (word, shown) in [
            ("a-b/c", "a-b/c"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("a\n'b'", r"$'a\x0a\'b\''"),
            ("a\u{202e}b", r"$'a\xe2\x80\xaeb'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
