//! The rules of the Arbiter lock, and nothing else: no clock, no I/O, no async, no dependencies.
//!
//! Every face (lock, rw lock, semaphore, election) stands on one [`Resource`]: leased,
//! weighted, first come first served, with exclusive and shared holds. Its steps take the
//! store's time and return the reply *and* everyone whom they granted. The memory store is
//! this value behind a mutex; the embedded store is this value on the [`Rows`] of a file; the
//! Lua scripts do the same job on a Redis server, and a test feeds all of them the same steps
//! and demands the same replies.
//!
//! # The algorithm
//!
//! - A **request** has an id of its own. `acquire` grants it or queues it under a ticket (the
//!   store's time of enqueueing); repeated, it is a *look*, and says that the waiter lives.
//! - Whatever step finds the resource free grants the first live waiter ([`Resource`] says
//!   which is live), so a release hands over directly and nobody barges.
//! - A grant draws a **fence**: `max(time in µs, last + 1)`. A renewal names owner *and* fence.
//! - A grant to one who has queued stands for a short **first life** until the holder claims
//!   it by an ordinary renewal: a stopped waiter costs the others that, and no more.
//! - A grant consumes the place and leaves a **mark**; an end may leave a **tombstone**, so
//!   that an acquire which arrives late leaves nothing.
//!
//! [`Lease`] is the holder's side of a hold: when to renew, when to give it up for lost.
#![forbid(unsafe_code)]

mod backoff;
mod lease;
mod moment;
mod name;
mod resource;

pub use backoff::Backoff;
pub use lease::{Lease, Next};
pub use moment::Moment;
pub use name::{Name, NameError};
pub use resource::{
    Acquired, Answer, Broken, Contender, Downgraded, EXPIRY_WATCHERS, Ended, Forgotten, Grant,
    Hold, HolderView, Limit, MAX_STEPS, Mode, Note, PLACES, POLL_INTERVAL_MS, Refusal, Renewal,
    Renewed, Reply, Request, Resized, Resource, Root, Rows, Run, SHARED_OWNER, SharerView, Sharing,
    SharingView, Status, Table, Tried, Waiter, WaiterView, Written, provisional_ttl_ms,
};
