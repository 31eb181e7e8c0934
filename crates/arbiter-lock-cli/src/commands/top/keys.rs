//! The keys of a terminal, from the bytes that it sends.

use super::cursor::Movement;

/// A key, or text that was pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Ctrl(char),
    Enter,
    Escape,
    Backspace,
    /// An arrow, or a key of a page.
    Move(Movement),
    /// Pasted text, whose characters are no keys.
    Pasted(String),
    /// A key without a meaning here.
    Other,
}

/// The end of pasted text.
const PASTE_END: &[u8] = b"\x1b[201~";
/// How many bytes of pasted text are kept.
const MOST_PASTED: usize = 4_096;
/// The longest escape sequence.
const LONGEST_SEQUENCE: usize = 32;

/// Parses keys, of which a read may have returned a part.
#[derive(Debug, Default)]
pub(super) struct KeyParser {
    /// The bytes that are not a whole key yet.
    pending: Vec<u8>,
    /// The text that is being pasted.
    pasted: Option<Vec<u8>>,
}

impl KeyParser {
    /// Returns the keys that are whole with these bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.pending.extend_from_slice(bytes);
        let mut keys = Vec::new();
        while let Some(key) = self.next() {
            keys.extend(key);
        }
        keys
    }

    /// Returns whether the next bytes decide what the last ones mean: Escape, or a sequence.
    pub(super) fn is_undecided(&self) -> bool {
        !self.pending.is_empty() && self.pasted.is_none()
    }

    /// Decides, since no more bytes have come.
    pub(super) fn decide(&mut self) -> Option<Key> {
        if !self.is_undecided() {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        (pending == b"\x1b").then_some(Key::Escape)
    }

    /// Takes the first key, if it is whole. A step may take bytes that are no key.
    fn next(&mut self) -> Option<Option<Key>> {
        if self.pasted.is_some() {
            return self.paste().map(Some);
        }
        let (key, length) = match self.pending.as_slice() {
            [] => return None,
            b"\x1b[200~" | [0x1b, b'[', b'2', b'0', b'0', b'~', ..] => {
                self.pending.drain(..6);
                self.pasted = Some(Vec::new());
                return Some(None);
            }
            [0x1b, rest @ ..] => escaped(rest)?,
            bytes => plain(bytes)?,
        };
        self.pending.drain(..length);
        Some(Some(key))
    }

    /// Takes pasted text. Returns it when its end has come.
    fn paste(&mut self) -> Option<Key> {
        let text = self.pasted.as_mut()?;
        let end = self.pending.windows(PASTE_END.len());
        let end = end.into_iter().position(|bytes| bytes == PASTE_END);
        // A part of the end may be among the last bytes.
        let known = end.unwrap_or(self.pending.len().saturating_sub(PASTE_END.len() - 1));
        let room = MOST_PASTED.saturating_sub(text.len());
        text.extend(self.pending.drain(..known).take(room));
        end?;
        self.pending.drain(..PASTE_END.len());
        let text = self.pasted.take()?;
        Some(Key::Pasted(String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Returns the key of a sequence that follows an escape, and the length with that escape.
fn escaped(rest: &[u8]) -> Option<(Key, usize)> {
    Some(match rest {
        [] => return None,
        // The first one was the key.
        [0x1b, ..] => (Key::Escape, 1),
        // Function keys of the console.
        [b'[', b'[', rest @ ..] => {
            rest.first()?;
            (Key::Other, 4)
        }
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) else {
                return (LONGEST_SEQUENCE < rest.len()).then_some((Key::Other, 2 + rest.len()));
            };
            (sequence(&rest[..end], rest[end]), 3 + end)
        }
        [b'O', rest @ ..] => (sequence(&[], *rest.first()?), 3),
        // Alt with a key.
        [_, ..] => (Key::Other, 1 + plain(rest)?.1),
    })
}

/// Returns the key of a sequence with these parameters and this last byte.
fn sequence(parameters: &[u8], last: u8) -> Key {
    let number = parameters.split(|byte| *byte == b';').next();
    match (last, number.unwrap_or_default()) {
        (b'A', _) => Key::Move(Movement::Up),
        (b'B', _) => Key::Move(Movement::Down),
        (b'H', _) | (b'~', b"1" | b"7") => Key::Move(Movement::Home),
        (b'F', _) | (b'~', b"4" | b"8") => Key::Move(Movement::End),
        (b'M', b"") => Key::Enter,
        (b'~', b"5") => Key::Move(Movement::PageUp),
        (b'~', b"6") => Key::Move(Movement::PageDown),
        _ => Key::Other,
    }
}

/// Returns the key of a character, and its length.
fn plain(bytes: &[u8]) -> Option<(Key, usize)> {
    let first = *bytes.first()?;
    Some(match first {
        b'\r' | b'\n' => (Key::Enter, 1),
        0x7f | 0x08 => (Key::Backspace, 1),
        b'\t' | 0x00 | 0x1b..0x20 => (Key::Other, 1),
        0x01..0x1b => (Key::Ctrl(char::from(first + 0x60)), 1),
        0x20..0x7f => (Key::Char(char::from(first)), 1),
        _ => {
            let length = match first {
                0xc2..0xe0 => 2,
                0xe0..0xf0 => 3,
                0xf0..0xf5 => 4,
                _ => return Some((Key::Other, 1)),
            };
            let text = match bytes.get(..length) {
                Some(bytes) => std::str::from_utf8(bytes),
                None if std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none()) => {
                    return None;
                }
                None => return Some((Key::Other, 1)),
            };
            match text.ok().and_then(|text| text.chars().next()) {
                Some(c) => (Key::Char(c), length),
                None => (Key::Other, 1),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut parser = KeyParser::default();
        let mut keys = parser.feed(bytes);
        keys.extend(parser.decide());
        keys
    }

    #[test]
    fn bytes_are_read_as_keys() {
        for (bytes, expected) in [
            (&b"q/"[..], vec![Key::Char('q'), Key::Char('/')]),
            (
                b"\x1b[A\x1b[B\x1bOA",
                vec![
                    Key::Move(Movement::Up),
                    Key::Move(Movement::Down),
                    Key::Move(Movement::Up),
                ],
            ),
            (
                b"\x1b[5~\x1b[6~",
                vec![Key::Move(Movement::PageUp), Key::Move(Movement::PageDown)],
            ),
            (
                b"\x1b[H\x1b[4~\x1bOF",
                vec![
                    Key::Move(Movement::Home),
                    Key::Move(Movement::End),
                    Key::Move(Movement::End),
                ],
            ),
            (b"\x1b[1;5A", vec![Key::Move(Movement::Up)]),
            (
                b"\r\x7f\x03",
                vec![Key::Enter, Key::Backspace, Key::Ctrl('c')],
            ),
            (b"\x1b", vec![Key::Escape]),
            (b"\x1b\x1b", vec![Key::Escape, Key::Escape]),
            (b"\x1bb", vec![Key::Other]),
            (b"\x1b[[Aq", vec![Key::Other, Key::Char('q')]),
            ("中ü".as_bytes(), vec![Key::Char('中'), Key::Char('ü')]),
            (b"\xff\xe4q", vec![Key::Other, Key::Other, Key::Char('q')]),
            (b"\x1b[", vec![]),
        ] {
            assert_eq!(keys(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn split_sequence_is_one_key() {
        let text = "\x1b[B中\x1b[200~by\x1b[201~q".as_bytes();
        let expected = [
            Key::Move(Movement::Down),
            Key::Char('中'),
            Key::Pasted("by".into()),
            Key::Char('q'),
        ];
        let mut parser = KeyParser::default();
        let split: Vec<_> = text.chunks(1).flat_map(|b| parser.feed(b)).collect();
        assert_eq!(split, expected);
        assert_eq!(keys(text), expected);
    }

    #[test]
    fn pasted_text_is_bounded() {
        let mut parser = KeyParser::default();
        parser.feed(b"\x1b[200~");
        for _ in 0..100 {
            assert_eq!(parser.feed(&[b'y'; 1_000]), []);
            assert!(parser.pending.len() < 10);
        }
        let keys = parser.feed(PASTE_END);
        assert_eq!(keys, [Key::Pasted("y".repeat(MOST_PASTED))]);
    }
}
