//! Finds the messages by which a node unsubscribes a client.
//!
//! A node sends `sunsubscribe` unasked when a slot leaves it. The client library counts that message
//! as the answer to the oldest command, so that every later answer would go to the wrong command.
//! Since this library never sends `SUNSUBSCRIBE`, the last letter of the word is made a capital on
//! its way: the client library then delivers it as a message of an unknown kind.

/// The word of such a message, and the word that replaces it.
const UNSUBSCRIBED: &[u8] = b"sunsubscribe";
pub(super) const DELIVERED: &str = "sunsubscribE";

/// Follows the frames of a connection in RESP3.
#[derive(Default)]
pub(super) struct Frames {
    /// How many elements each frame around the current one still has.
    open: Vec<u64>,
    /// The bytes of a bulk that are outstanding, with its end of line.
    bulk: u64,
    /// The line so far, without its content beyond [`LONGEST`].
    line: Vec<u8>,
    /// How much of the word the first element of a message has shown so far.
    word: Option<usize>,
}

/// A line that counts is no longer: a type, and a length.
const LONGEST: usize = 24;

impl Frames {
    /// Follows the bytes that have arrived, and changes the word of such messages.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            at += match self.bulk {
                0 => self.pass_line(rest),
                _ => self.pass_bulk(rest),
            };
        }
    }

    /// Passes bytes of a bulk. Returns how many.
    fn pass_bulk(&mut self, bytes: &mut [u8]) -> usize {
        let length = usize::try_from(self.bulk)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        if let Some(known) = self.word {
            let shown = length.min(UNSUBSCRIBED.len() - known);
            let expected = &UNSUBSCRIBED[known..known + shown];
            self.word = (bytes[..shown] == *expected).then_some(known + shown);
            if self.word == Some(UNSUBSCRIBED.len()) {
                bytes[shown - 1] = b'E';
                self.word = None;
            }
        }
        self.bulk -= length as u64;
        if self.bulk == 0 {
            self.end_element();
        }
        length
    }

    /// Passes bytes of a line. Returns how many.
    fn pass_line(&mut self, bytes: &[u8]) -> usize {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(bytes.len(), |end| end + 1);
        let room = LONGEST - self.line.len();
        self.line.extend(&bytes[..length.min(room)]);
        if end.is_some() {
            self.end_line();
            self.line.clear();
        }
        length
    }

    fn end_line(&mut self) {
        let is_word = self.word.take().is_some();
        let kind = self.line.first().copied().unwrap_or_default();
        let length = std::str::from_utf8(self.line.get(1..).unwrap_or_default());
        let length = length
            .ok()
            .and_then(|text| text.trim_end().parse::<u64>().ok());
        match (kind, length) {
            (b'$' | b'=' | b'!', Some(length)) => {
                let is_word = is_word && length == UNSUBSCRIBED.len() as u64;
                self.word = is_word.then_some(0);
                self.bulk = length.saturating_add(2);
            }
            (b'*' | b'~', Some(count @ 1..)) => self.open.push(count),
            (b'%', Some(count @ 1..)) => self.open.push(count.saturating_mul(2)),
            // The value with the attributes follows.
            (b'|', Some(count)) => self.open.push(count.saturating_mul(2).saturating_add(1)),
            (b'>', Some(count @ 1..)) => {
                self.word = self.open.is_empty().then_some(0);
                self.open.push(count);
            }
            _ => self.end_element(),
        }
    }

    /// Ends an element, and each frame whose last one it is.
    fn end_element(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left = left.saturating_sub(1);
            if 0 < *left {
                return;
            }
            self.open.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVED: &str = ">3\r\n$12\r\nsunsubscribe\r\n$5\r\nc{1}d\r\n:0\r\n";

    /// Passes the text in pieces of that size.
    fn passed(text: &str, size: usize) -> String {
        let (mut frames, mut bytes) = (Frames::default(), text.as_bytes().to_vec());
        for piece in bytes.chunks_mut(size) {
            frames.pass(piece);
        }
        assert!(frames.open.is_empty() && frames.bulk == 0, "{text:?}");
        String::from_utf8(bytes).unwrap()
    }

    /// Checks that only the messages in the text change, in any pieces that it arrives in.
    fn assert_changed(before: &str, after: &str) {
        let text = [before, MOVED, after, MOVED].concat();
        let moved = MOVED.replace("sunsubscribe", DELIVERED);
        let expected = [before, &moved, after, &moved].concat();
        for size in 1..=text.len() {
            assert_eq!(passed(&text, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn messages_are_changed_between_answers() {
        assert_changed("", "+OK\r\n");
        assert_changed(
            "$3\r\nabc\r\n:7\r\n_\r\n#t\r\n,1.5\r\n(99\r\n",
            "$-1\r\n*-1\r\n$0\r\n\r\n",
        );
        assert_changed(
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "*0\r\n~1\r\n+a\r\n%1\r\n+a\r\n+b\r\n",
        );
        assert_changed("-MOVED 1 a:1\r\n", "!5\r\nERR x\r\n=5\r\ntxt:a\r\n");
        assert_changed("|1\r\n+a\r\n+b\r\n*1\r\n:1\r\n", "%0\r\n");
        assert_changed(
            ">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$12\r\nsunsubscribe\r\n",
            "+a long line of an answer\r\n",
        );
    }

    #[test]
    fn huge_lengths_cost_nothing() {
        for kind in ['$', '=', '!', '*', '~', '%', '|', '>'] {
            let mut frames = Frames::default();
            let mut bytes = format!("{kind}{}\r\n+a\r\n", u64::MAX).into_bytes();
            frames.pass(&mut bytes);
            assert!(0 < frames.bulk || !frames.open.is_empty(), "{kind}");
        }
    }

    #[test]
    fn same_bytes_elsewhere_are_unchanged() {
        let inside = format!("${}\r\n{MOVED}\r\n", MOVED.len());
        for text in [
            inside.as_str(),
            "*1\r\n>1\r\n$12\r\nsunsubscribe\r\n",
            "*2\r\n$12\r\nsunsubscribe\r\n:1\r\n",
            "$12\r\nsunsubscribe\r\n",
            ">3\r\n$12\r\nsunsubscribd\r\n$1\r\nc\r\n:0\r\n",
            ">3\r\n+ssubscribe\r\n$12\r\nsunsubscribe\r\n:0\r\n",
            "+>3\r\n$12\r\nsunsubscribe\r\n",
        ] {
            for size in 1..=text.len() {
                assert_eq!(passed(text, size), text, "in pieces of {size}");
            }
        }
    }
}
