//! What is under way between the clients and the store.

use crate::requests::Request;

/// A message. Ages are in ticks, and of no account from a lease on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// To the store: to acquire, to look again, or to try.
    Acquire {
        /// The request.
        of: Request,
        /// Whether it has a ticket.
        ticket: bool,
        /// Whether it is a try.
        tries: bool,
        /// Since it was sent.
        age: u8,
        /// Whether somebody still waits for the answer.
        heard: bool,
    },
    /// The answer of one who holds.
    Granted {
        /// The request.
        of: Request,
        /// Its fence.
        fence: u8,
        /// The life that was set.
        life: u8,
        /// Since the question was sent.
        age: u8,
    },
    /// The answer of one who waits.
    Queued {
        /// The request.
        of: Request,
        /// From the sending of the question to its being answered.
        lag: u8,
    },
    /// The answer of a try in vain.
    Busy {
        /// The request.
        of: Request,
    },
    /// The answer of one that was ended before.
    Ended {
        /// The request.
        of: Request,
    },
    /// From the store, unasked: a grant.
    Push {
        /// The request.
        of: Request,
        /// Its fence.
        fence: u8,
        /// The life that was set.
        life: u8,
        /// Since the grant.
        age: u8,
    },
    /// To the store: to prolong a hold.
    Renew {
        /// Whose it is.
        of: Request,
        /// Its fence.
        fence: u8,
        /// Since it was sent.
        age: u8,
        /// Whether somebody still waits for the answer.
        heard: bool,
    },
    /// The answer of one that was prolonged.
    Renewed {
        /// Whose it is.
        of: Request,
        /// Its fence.
        fence: u8,
        /// Since the question was sent.
        age: u8,
    },
    /// The answer of one that is not there.
    NotYours {
        /// Whose it was.
        of: Request,
        /// Its fence.
        fence: u8,
    },
    /// To the store: to release or abandon.
    End {
        /// The request.
        of: Request,
        /// Whether to leave a tombstone.
        tombstone: bool,
        /// Whether somebody still waits for the answer.
        heard: bool,
    },
    /// The answer to an end.
    EndAnswered {
        /// The request.
        of: Request,
        /// Whether there was something to end.
        ended: bool,
    },
}

impl Message {
    pub(crate) fn of(mut self) -> Request {
        *self.of_mut()
    }

    pub(crate) fn of_mut(&mut self) -> &mut Request {
        match self {
            Self::Acquire { of, .. }
            | Self::Granted { of, .. }
            | Self::Queued { of, .. }
            | Self::Busy { of }
            | Self::Ended { of }
            | Self::Push { of, .. }
            | Self::Renew { of, .. }
            | Self::Renewed { of, .. }
            | Self::NotYours { of, .. }
            | Self::End { of, .. }
            | Self::EndAnswered { of, .. } => of,
        }
    }

    pub(crate) fn fence(&mut self) -> Option<&mut u8> {
        match self {
            Self::Granted { fence, .. }
            | Self::Push { fence, .. }
            | Self::Renew { fence, .. }
            | Self::Renewed { fence, .. }
            | Self::NotYours { fence, .. } => Some(fence),
            _ => None,
        }
    }

    pub(crate) fn age(&mut self) -> Option<&mut u8> {
        match self {
            Self::Acquire { age, .. }
            | Self::Granted { age, .. }
            | Self::Push { age, .. }
            | Self::Renew { age, .. }
            | Self::Renewed { age, .. } => Some(age),
            _ => None,
        }
    }

    /// Whether the answer is waited for, if it is a question.
    pub(crate) fn heard(&mut self) -> Option<&mut bool> {
        match self {
            Self::Acquire { heard, .. } | Self::Renew { heard, .. } | Self::End { heard, .. } => {
                Some(heard)
            }
            _ => None,
        }
    }

    pub(crate) fn is_question(&self) -> bool {
        matches!(
            self,
            Self::Acquire { .. } | Self::Renew { .. } | Self::End { .. }
        )
    }
}
