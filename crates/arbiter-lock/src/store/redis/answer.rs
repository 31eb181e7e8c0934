//! Reads the answer of a script: a word first, then fields. A malformed answer costs an error.

use redis::Value;

use crate::store::{Failure, FailureKind};

/// The fields of an answer that have not been read yet.
pub(super) enum Answer {
    List(std::vec::IntoIter<Value>),
    Line {
        line: String,
        /// Where the next word begins, and how many may begin yet.
        next: Option<usize>,
        words: usize,
    },
}

/// Numbers that a double holds exactly.
const END_OF_NUMBERS: u64 = 1 << 53;
/// The maximum number of words into which a line is split. No answer that is a line has more.
const MOST_WORDS: usize = 10;

pub(super) fn malformed(what: &str) -> Failure {
    let shown: String = what.chars().take(80).collect();
    Failure::unknown(
        FailureKind::Malformed,
        format!("unexpected answer {shown:?}"),
    )
}

impl Answer {
    /// Creates an answer from a list, or a line of words.
    pub(super) fn new(value: Value) -> Result<Self, Failure> {
        if let Value::Array(fields) = value {
            return Ok(Self::List(fields.into_iter()));
        }
        Ok(Self::Line {
            line: text_of(value)?,
            next: Some(0),
            words: MOST_WORDS,
        })
    }

    /// Returns the items of a list.
    pub(super) fn list(value: Value) -> Result<Vec<Value>, Failure> {
        match value {
            Value::Array(items) => Ok(items),
            _ => Err(malformed("no list")),
        }
    }

    /// Returns the first word. For every request, `other-data` is an error.
    pub(super) fn word(&mut self) -> Result<String, Failure> {
        match self.text()? {
            word if word == "other-data" => Err(Failure::before_sending(
                FailureKind::WrongType,
                "a hash without the field 'owner'",
            )),
            word => Ok(word),
        }
    }

    /// Returns the next field, parsed without changes.
    fn field<T>(&mut self, read: impl FnOnce(&str) -> T) -> Result<T, Failure> {
        let too_few = || malformed("too few fields");
        let (line, next, words) = match self {
            Self::List(fields) => return Ok(read(&text_of(fields.next().ok_or_else(too_few)?)?)),
            Self::Line { line, next, words } => (line, next, words),
        };
        let rest = next.and_then(|at| line.get(at..)).ok_or_else(too_few)?;
        *words -= 1;
        let end = rest.find(' ').filter(|_| 0 < *words);
        *next = next.zip(end).map(|(at, end)| at + end + 1);
        Ok(read(&rest[..end.unwrap_or(rest.len())]))
    }

    pub(super) fn text(&mut self) -> Result<String, Failure> {
        self.field(str::to_owned)
    }

    pub(super) fn number(&mut self) -> Result<u64, Failure> {
        self.optional_number()?
            .ok_or_else(|| malformed("no number"))
    }

    /// Returns a number; `None` for an empty string.
    pub(super) fn optional_number(&mut self) -> Result<Option<u64>, Failure> {
        self.field(|text| {
            if text.is_empty() {
                return Ok(None);
            }
            let number = text.parse().ok().filter(|number| *number < END_OF_NUMBERS);
            number.map(Some).ok_or_else(|| malformed(text))
        })?
    }

    pub(super) fn flag(&mut self) -> Result<bool, Failure> {
        Ok(0 < self.number()?)
    }

    /// Parses a TTL in ms: `None` if there is no holder, `Some(None)` if it never expires.
    pub(super) fn ttl(&mut self) -> Result<Option<Option<u64>>, Failure> {
        self.field(|ttl| match ttl {
            "-2" => Ok(None),
            "-1" => Ok(Some(None)),
            ttl => ttl
                .parse()
                .map(|ttl| Some(Some(ttl)))
                .map_err(|_| malformed(ttl)),
        })?
    }

    /// Returns the rest, as one line.
    pub(super) fn rest(mut self) -> String {
        let mut words = Vec::new();
        while let Ok(word) = self.text() {
            words.push(word);
        }
        words.join(" ")
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::List(fields) => fields.len() == 0,
            Self::Line { next, .. } => next.is_none(),
        }
    }
}

fn text_of(value: Value) -> Result<String, Failure> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())),
        Value::SimpleString(text) => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(malformed("a field of another type")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply;
    use super::super::tests::ask::one_of_each;
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn malformed_reply_is_an_error_never_a_panic() {
        let odd = [
            Value::Nil,
            Value::Int(-1),
            Value::Array(vec![]),
            Value::Array(vec![text("granted")]),
            Value::Array(vec![text("queued"), Value::Int(-5)]),
            Value::Array(vec![Value::Array(vec![])]),
            Value::Double(1.0),
            text("granted 1 9007199254740992 5"),
            text("granted x y z"),
            text(""),
            Value::Okay,
        ];
        for value in odd {
            for request in one_of_each() {
                let answer = reply::read(&request, value.clone());
                assert!(answer.is_err(), "{value:?} to {request:?}");
            }
            assert!(reply::renewed(value.clone(), 9).is_err(), "{value:?}");
        }
    }

    #[test]
    fn malformed_push_is_dropped() {
        for payload in ["", "x", "x 1 2", "x 1 2 y", "x -1 2 3"] {
            assert_eq!(reply::push(payload.as_bytes()), None, "{payload}");
        }
        assert_eq!(reply::push(&[0xff, 0xfe]), None);
        for (payload, node) in [
            ("id 5 2000 1700000000000000", None),
            ("id 5 2000 1700000000000000 e31393f1", Some("e31393f1")),
        ] {
            let (push, of) = reply::push(payload.as_bytes()).unwrap();
            assert_eq!((&*push.request, push.fence, of), ("id", 5, node));
        }
    }
}
