//! The rules of the Arbiter lock: no clock, no I/O, no async, no dependencies.
//!
//! Every primitive (lock, rw lock, semaphore, election) is built on one [`Resource`]: leased,
//! weighted, first come, first served, with exclusive and shared holds. Its steps take the store's
//! time and return the reply *and* the other requests that they granted. The memory store is a
//! `Resource` behind a mutex. The embedded store is a `Resource` on the [`Rows`] of a file. The
//! Lua scripts do the same job on a Redis server. A test applies the same steps to all of them and
//! requires the same replies.
//!
//! # The algorithm
//!
//! - A **request** has its own id. `acquire` grants it or queues it under a ticket (the store's
//!   time of enqueueing). Repeated, it is a *poll*, and shows that the waiter is alive.
//! - Any step that finds the resource free grants the first live waiter ([`Resource`] defines
//!   *live*), so a release hands off directly and no request barges.
//! - A grant draws a **fence**: `max(time in µs, last + 1)`. A renewal names owner *and* fence.
//! - A grant to a waiter lasts for a short **provisional TTL** until the holder claims it by an
//!   ordinary renewal. A stopped waiter costs the others no more than that.
//! - A grant consumes the place and leaves a **granted marker**. An end may leave a **tombstone**,
//!   so that an acquire that arrives late has no effect.
//!
//! [`Lease`] is the holder's view of a hold: when to renew it, and when to give it up as lost.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

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
    Hold, HolderView, LONGEST_RUN_MS, Limit, MAX_STEPS, Mode, Note, PLACES, POLL_INTERVAL_MS,
    Refusal, Renewal, Renewed, Reply, Request, Resized, Resource, Root, Rows, Run, SHARED_OWNER,
    SharerView, Sharing, SharingView, Status, Table, Tried, Waiter, WaiterView, Written,
    detached_id, is_detached, provisional_ttl_ms,
};
