//! The prefix of a client's keys: makes the key of a name, and finds the name of a key.

use std::sync::Arc;

use crate::errors::invalid::Invalid;
use crate::printable::Printable;

/// A text that no lock's key contains. On a server, keys and channels with it belong to locks.
pub(crate) const RESERVED: &str = "#arbiter.";

/// The prefix of a client's keys. A lock is its key, so clients with different prefixes share it if
/// prefix and name together are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPrefix(Arc<str>);

impl Default for KeyPrefix {
    /// Returns the prefix of the Go library.
    fn default() -> Self {
        Self("arbiter:".into())
    }
}

impl KeyPrefix {
    /// Checks a prefix, which may be empty.
    pub(crate) fn new(text: &str) -> Result<Self, Invalid> {
        let fault = if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            "must not contain whitespace or control characters"
        } else if text.contains(RESERVED) {
            "must not contain '#arbiter.', which is reserved for keys beside those of locks"
        } else {
            return Ok(Self(text.into()));
        };
        let message = format!("the key prefix '{}' {fault}", Printable(text));
        Err(Invalid::new("key_prefix", message))
    }

    /// Returns the prefix as it was given.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks that the key of a name is not reserved.
    pub(crate) fn check(&self, name: &str) -> Result<(), Invalid> {
        let lies_across = |at: usize| {
            let (end, begin) = RESERVED.split_at(at);
            self.0.ends_with(end) && name.starts_with(begin)
        };
        if !name.contains(RESERVED) && !(1..RESERVED.len()).any(lies_across) {
            return Ok(());
        }
        let message = format!(
            "the name '{}' is reserved: a name must not contain '#arbiter.', also not together \
             with the key prefix '{}'; use another name",
            Printable(name),
            Printable(&self.0)
        );
        Err(Invalid::new("name", message))
    }

    /// Returns the key of a name.
    pub(crate) fn key(&self, name: &str) -> String {
        [&self.0, name].concat()
    }

    /// Returns the name of a key; `None` for a key of another prefix, or a reserved one.
    pub(crate) fn name_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        let name = key.strip_prefix(&*self.0)?;
        (!key.contains(RESERVED)).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys_are_refused_for_every_prefix() {
        for at in 0..=RESERVED.len() {
            let (end, begin) = RESERVED.split_at(at);
            let name = format!("{begin}x");
            let Ok(prefix) = KeyPrefix::new(&format!("p{end}")) else {
                assert_eq!(at, RESERVED.len());
                continue;
            };
            assert!(prefix.check(&name).is_err(), "{prefix:?} {name}");
            assert_eq!(prefix.name_of(&prefix.key(&name)), None);
        }
        let prefix = KeyPrefix::new("p#").unwrap();
        for name in [
            "arbiter",
            "#arbiter",
            "arbiter:",
            "x",
            "a#rbiter.",
            "#ARBITER.",
        ] {
            assert_eq!(prefix.check(name), Ok(()), "{name}");
            assert_eq!(prefix.name_of(&prefix.key(name)), Some(name));
        }
    }

    #[test]
    fn prefixes_that_split_words_are_refused() {
        for text in [
            "a b",
            "a\n",
            "\0",
            "a\u{2028}b",
            "\u{a0}",
            "#arbiter.",
            "x#arbiter.y",
        ] {
            assert!(KeyPrefix::new(text).is_err(), "{text:?}");
        }
        for text in ["", "app1:", "{t}:", "p*[?]\\", "ünï:", "#", "arbiter."] {
            assert_eq!(KeyPrefix::new(text).unwrap().as_str(), text);
        }
    }
}
