//! Messages between the clients and the store.

use crate::requests::Request;

/// A message. Ages are in ticks, and equal from a lease on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// To the store: to acquire, to poll, or to try.
    Acquire {
        /// The request.
        of: Request,
        /// Whether it has a ticket.
        ticket: bool,
        /// Whether it is a try.
        tries: bool,
        /// Since it was sent.
        age: u8,
        /// Whether the client still waits for the answer.
        awaited: bool,
    },
    /// The answer to the holder.
    Granted {
        /// The request.
        of: Request,
        /// Its fence.
        fence: u8,
        /// The TTL that was set.
        ttl: u8,
        /// Since the question was sent.
        age: u8,
    },
    /// The answer to a waiter.
    Queued {
        /// The request.
        of: Request,
        /// The time from the question to its answer.
        lag: u8,
    },
    /// The answer to a try without a grant.
    Busy {
        /// The request.
        of: Request,
    },
    /// The answer to an ended request.
    Ended {
        /// The request.
        of: Request,
    },
    /// From the store, without a question: a grant.
    Push {
        /// The request.
        of: Request,
        /// Its fence.
        fence: u8,
        /// The TTL that was set.
        ttl: u8,
        /// Since the grant.
        age: u8,
    },
    /// To the store: to extend a hold.
    Renew {
        /// Whose it is.
        of: Request,
        /// Its fence.
        fence: u8,
        /// Since it was sent.
        age: u8,
        /// Whether the client still waits for the answer.
        awaited: bool,
    },
    /// The answer for an extended hold.
    Renewed {
        /// Whose it is.
        of: Request,
        /// Its fence.
        fence: u8,
        /// Since the question was sent.
        age: u8,
    },
    /// The answer for a hold that does not exist.
    NotYours {
        /// Whose it was.
        of: Request,
        /// Its fence.
        fence: u8,
    },
    /// To the store: to release, or to leave the queue.
    End {
        /// The request.
        of: Request,
        /// Whether to leave a tombstone.
        tombstone: bool,
        /// Whether the client still waits for the answer.
        awaited: bool,
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

    /// Returns whether the answer is awaited, if it is a question.
    pub(crate) fn awaited(&mut self) -> Option<&mut bool> {
        match self {
            Self::Acquire { awaited, .. }
            | Self::Renew { awaited, .. }
            | Self::End { awaited, .. } => Some(awaited),
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
