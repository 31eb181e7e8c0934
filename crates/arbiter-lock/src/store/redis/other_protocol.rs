//! Servers of another protocol, by the first bytes that they send.

use crate::store::{Failure, FailureKind};

/// The message for a server of another kind. The text of the parser means nothing to a user.
pub(super) const NOT_REDIS: &str = "it does not speak the protocol of Redis";

/// The first bytes of the types of RESP3.
const TYPES: &[u8] = b"+-:$*_#,(!=%~>|";

/// A protocol other than that of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OtherProtocol {
    Http,
    Ssh,
    Unknown,
}

impl OtherProtocol {
    /// Returns the protocol that these first bytes show, if it is another one.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        match first {
            // Some servers answer a page without a status line.
            [b'<', ..] | [b'H', b'T', b'T', b'P', b'/', ..] => Some(Self::Http),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            [first, ..] if !TYPES.contains(first) => Some(Self::Unknown),
            _ => None,
        }
    }

    pub(super) fn failure(self) -> Failure {
        let known = |protocol: &str| {
            let detail = format!("it speaks {protocol}: the URL names the port of another program");
            Failure::before_sending(FailureKind::Unsupported, detail)
        };
        match self {
            Self::Http => known("HTTP"),
            Self::Ssh => known("SSH"),
            Self::Unknown => {
                let detail = format!("{NOT_REDIS}: the URL may name the port of another program");
                Failure::before_sending(FailureKind::Malformed, detail)
            }
        }
    }
}
