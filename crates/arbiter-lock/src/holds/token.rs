//! The token of a detached hold.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use arbiter_lock_core::{Limit, Mode, Name, is_detached};

use crate::errors::error::Error;
use crate::errors::invalid::Invalid;

/// The first word of a token's text.
const FORMAT: &str = "arbiter1";

/// Names a detached hold, for the process that adopts it.
///
/// A token is one line of printable ASCII without spaces: write it with `to_string`, and read it
/// with `parse`. It is good for one [`Client::adopt`](crate::Client::adopt): of two copies, one
/// wins. It grants no right that the store does not grant.
///
/// # Examples
/// ```
/// use arbiter_lock::{Client, Token};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// let client = Client::in_memory();
/// let token = client.lock("deploy").acquire().await?.into_token().await?;
/// let line = token.to_string();
/// assert_eq!(line.parse::<Token>()?, token);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub(crate) name: Name,
    pub(crate) owner: Arc<str>,
    pub(crate) fence: u64,
    pub(crate) mode: Mode,
}

impl Token {
    /// Returns the name of the resource.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Returns the fencing token of the hold, which the adopter keeps.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Returns the owner of the detached hold, as the store shows it.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim().splitn(5, ':');
        let mut word = || words.next();
        let _ = word().filter(|format| *format == FORMAT)?;
        let fence = word()?.parse().ok()?;
        let mode = parse_mode(word()?)?;
        let owner = word().filter(|owner| is_detached(owner))?;
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        owner.chars().all(is_id).then_some(())?;
        Some(Self {
            name: Name::new(&unescape(word()?)?).ok()?,
            owner: owner.into(),
            fence,
            mode,
        })
    }
}

fn parse_mode(word: &str) -> Option<Mode> {
    let Some(numbers) = word.strip_prefix('s') else {
        return (word == "x").then_some(Mode::Exclusive);
    };
    let (weight, limit) = match numbers.split_once('/') {
        Some((weight, limit)) => (weight, Limit::Stated(limit.parse().ok()?)),
        None => (numbers, Limit::Unlimited),
    };
    let weight = weight.parse().ok()?;
    Some(Mode::Shared { weight, limit })
}

/// Replaces `%` and two hexadecimal digits by the byte.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend(pieces.next()?.bytes());
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORMAT}:{}:", self.fence)?;
        match self.mode {
            Mode::Exclusive => f.write_str("x")?,
            Mode::Shared { weight, limit } => {
                write!(f, "s{weight}")?;
                if let Some(limit) = limit.first() {
                    write!(f, "/{}", NonZeroU32::get(limit))?;
                }
            }
        }
        write!(f, ":{}:", self.owner)?;
        for byte in self.name.as_str().bytes() {
            match byte {
                b'%' | 0..=b' ' | 0x7f.. => write!(f, "%{byte:02X}")?,
                _ => write!(f, "{}", char::from(byte))?,
            }
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(|| {
            let message = "this is no token of a hold; copy the whole line that `into_token` or \
                           `arbiter hold` has written";
            Invalid::new("token", message).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_survives_its_text() {
        let number = |n| NonZeroU32::new(n).unwrap();
        let modes = [
            Mode::Exclusive,
            Mode::Shared {
                weight: number(1),
                limit: Limit::Unlimited,
            },
            Mode::Shared {
                weight: number(3),
                limit: Limit::Stated(number(10)),
            },
        ];
        for mode in modes {
            for name in ["deploy", "a:b 100%\n\u{202e}é", "%41"] {
                let token = Token {
                    name: Name::new(name).unwrap(),
                    owner: arbiter_lock_core::detached_id("q7"),
                    fence: 7,
                    mode,
                };
                let text = token.to_string();
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text}");
                assert_eq!(format!(" {text}\n").parse::<Token>().unwrap(), token);
            }
        }
    }

    #[test]
    fn other_text_is_no_token() {
        for text in [
            "",
            "arbiter1:7:x:detached-q:",
            "arbiter1:7:x:q:deploy",
            "arbiter1:7:s0:detached-q:deploy",
            "arbiter1:7:y:detached-q:deploy",
            "arbiter1:-7:x:detached-q:deploy",
            "arbiter2:7:x:detached-q:deploy",
            "arbiter1:7:x:detached-q q:deploy",
            "arbiter1:7:x:detached-q:%4",
            "arbiter1:7:x:detached-q:%é1",
            "arbiter1:7:x:detached-q:%FF",
        ] {
            let error = text.parse::<Token>().unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{text}: {error}");
        }
    }
}
