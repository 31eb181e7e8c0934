//! The requests to a resource, and their replies.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::answer::{
    Acquired, Answer, Broken, Downgraded, Ended, Renewed, Resized, Tried, Written,
};
use super::rows::{Rows, Run};
use super::status::Status;
use super::{Contender, Moment, Resource};

/// A request to one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Grants the contender, or queues it: [`Resource::acquire`].
    Acquire {
        /// The contender.
        contender: Arc<Contender>,
        /// The ticket from an earlier reply.
        ticket: Option<u64>,
    },
    /// Grants the contender if that is possible at once: [`Resource::try_acquire`].
    TryAcquire(Arc<Contender>),
    /// Extends a hold: [`Resource::renew`].
    Renew(Renewal),
    /// Releases a hold, or leaves the queue: [`Resource::end`].
    End {
        /// The contender that held or waited.
        contender: Arc<Contender>,
        /// Whether to leave a tombstone.
        tombstone: bool,
    },
    /// Ends a hold for an operator, or asks its holder to stop: [`Resource::break_hold`].
    Break {
        /// The fence of the hold.
        fence: u64,
        /// Whether to end it now.
        at_once: bool,
    },
    /// Ends an external hold for an operator: [`Resource::break_external`].
    BreakExternal {
        /// The owner, as the external client wrote it.
        owner: Arc<str>,
    },
    /// Turns a writer into a reader: [`Resource::downgrade`].
    Downgrade(Renewal),
    /// Gives a hold to another request: [`Resource::transfer`].
    Transfer {
        /// The owner of the hold.
        owner: Arc<str>,
        /// The fence of the hold.
        fence: u64,
        /// The request that gets it.
        to: Arc<Contender>,
    },
    /// Sets another limit: [`Resource::resize`].
    Resize(NonZeroU32),
    /// Sets the value of an exclusive hold: [`Resource::proclaim`].
    Proclaim {
        /// The owner of the hold.
        owner: Arc<str>,
        /// The fence of the hold.
        fence: u64,
        /// The value.
        value: Arc<str>,
    },
    /// Records that a run has begun: [`Resource::begin_run`].
    BeginRun {
        /// The owner of the hold.
        owner: Arc<str>,
        /// The fence of the hold.
        fence: u64,
        /// The time that it serves.
        turn: Moment,
        /// How long to remember it after its end, in milliseconds.
        memory_ms: u64,
    },
    /// Records that a run has ended: [`Resource::finish_run`].
    FinishRun {
        /// The fence of the hold under which it began.
        fence: u64,
        /// The outcome.
        outcome: Arc<str>,
    },
    /// Forgets the last run: [`Resource::forget_run`].
    ForgetRun {
        /// The fence of the hold under which it began.
        fence: u64,
    },
    /// Reads the holds and the queue: [`Resource::inspect`].
    Inspect,
    /// Reads the last run: [`Resource::last_run`].
    LastRun,
}

/// A hold to extend: its owner, its fence, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The owner of the hold.
    pub owner: Arc<str>,
    /// The fence of the hold.
    pub fence: u64,
    /// The lease, in milliseconds.
    pub lease_ms: u64,
    /// Whether the hold may be a shared one. Otherwise a store need not look at the shared holds.
    pub may_share: bool,
}

/// Defines the replies, one kind for each kind of request; writes share one.
macro_rules! replies {
    ($($(#[$doc:meta])* $kind:ident($reply:ty),)+) => {
        /// The reply to a [`Request`].
        ///
        /// Each kind converts into its content; the conversion of another kind returns the reply.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Reply {
            $($(#[$doc])* $kind($reply),)+
        }

        $(impl From<$reply> for Reply {
            fn from(reply: $reply) -> Self {
                Self::$kind(reply)
            }
        }

        impl TryFrom<Reply> for $reply {
            type Error = Reply;

            fn try_from(reply: Reply) -> Result<Self, Reply> {
                match reply {
                    Reply::$kind(reply) => Ok(reply),
                    other => Err(other),
                }
            }
        })+
    };
}

replies! {
    /// To [`Request::Acquire`].
    Acquired(Acquired),
    /// To [`Request::TryAcquire`].
    Tried(Tried),
    /// To [`Request::Renew`] and [`Request::Transfer`].
    Renewed(Renewed),
    /// To [`Request::End`].
    Ended(Ended),
    /// To [`Request::Break`] and [`Request::BreakExternal`].
    Broken(Broken),
    /// To [`Request::Downgrade`].
    Downgraded(Downgraded),
    /// To [`Request::Resize`].
    Resized(Resized),
    /// To [`Request::Proclaim`], and to the requests that write the record of a run.
    Written(Written),
    /// To [`Request::Inspect`].
    Inspected(Status),
    /// To [`Request::LastRun`].
    LastRun(Option<Run>),
}

impl Request {
    /// Applies the request to the resource.
    ///
    /// `reach` reports whether a client listens on a channel.
    pub fn apply<R: Rows>(
        &self,
        resource: &mut Resource<R>,
        now: Moment,
        reach: impl Fn(&str) -> bool,
    ) -> Answer<Reply> {
        match self {
            Self::Acquire { contender, ticket } => resource
                .acquire(now, contender, *ticket, reach)
                .into_reply(),
            Self::TryAcquire(contender) => resource.try_acquire(now, contender, reach).into_reply(),
            Self::Renew(Renewal {
                owner,
                fence,
                lease_ms,
                ..
            }) => Answer::only(resource.renew(now, owner, *fence, *lease_ms).into()),
            Self::End {
                contender,
                tombstone,
            } => resource
                .end(now, &contender.id, *tombstone, reach)
                .into_reply(),
            Self::Break { fence, at_once } => resource
                .break_hold(now, *fence, *at_once, reach)
                .into_reply(),
            Self::BreakExternal { owner } => {
                resource.break_external(now, owner, reach).into_reply()
            }
            Self::Downgrade(Renewal {
                owner,
                fence,
                lease_ms,
                ..
            }) => resource
                .downgrade(now, owner, *fence, *lease_ms, reach)
                .into_reply(),
            Self::Transfer { owner, fence, to } => {
                Answer::only(resource.transfer(now, owner, *fence, to).into())
            }
            Self::Resize(limit) => resource.resize(now, *limit, reach).into_reply(),
            Self::Proclaim {
                owner,
                fence,
                value,
            } => Answer::only(resource.proclaim(now, owner, *fence, value).into()),
            Self::BeginRun {
                owner,
                fence,
                turn,
                memory_ms,
            } => {
                let begun = resource.begin_run(now, owner, *fence, *turn, *memory_ms);
                Answer::only(begun.into())
            }
            Self::FinishRun { fence, outcome } => {
                Answer::only(resource.finish_run(now, *fence, outcome).into())
            }
            Self::ForgetRun { fence } => Answer::only(resource.forget_run(now, *fence).into()),
            Self::Inspect => Answer::only(resource.inspect(now).into()),
            Self::LastRun => Answer::only(resource.last_run(now).into()),
        }
    }
}

impl<T: Into<Reply>> Answer<T> {
    fn into_reply(self) -> Answer<Reply> {
        Answer {
            reply: self.reply.into(),
            granted: self.granted,
            again: self.again,
        }
    }
}
