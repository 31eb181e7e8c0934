//! A distributed lock on the Redis, Valkey or PostgreSQL that you already run, or on one machine
//! without a server.
//!
//! Every grant has a fencing token, waiters are granted in order of arrival, and a holder
//! detects a loss before the next is granted.
//!
//! ```
//! use std::time::Duration;
//! use arbiter_lock::Client;
//!
//! # async fn write(fence: u64) {}
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), arbiter_lock::Error> {
//! # let client = Client::in_memory();
//! # if false {
//! let client = Client::connect("redis://127.0.0.1:6379").await?;
//! # }
//! let lock = client.lock("my-lock").wait_timeout(Duration::from_secs(5));
//!
//! let guard = lock.acquire().await?; // on a timeout, the error has the holder and your place
//! write(guard.fence()).await;        // the resource rejects an older fence
//! guard.release().await?;            // or drop it
//! # Ok(()) }
//! ```
//!
//! # Primitives
//!
//! A name is one resource with one queue, in which all primitives wait.
//!
//! | primitive | holders | acquired by |
//! |---|---|---|
//! | [`Lock`] | one | [`Client::lock`] |
//! | [`RwLock`] | many readers, or one writer | [`Client::rw_lock`] |
//! | [`Semaphore`] | as many as it has permits | [`Client::semaphore`] |
//! | [`LockAll`] | one, of several names at once | [`Client::lock_all`] |
//! | [`Session`] | one, with nested locking | [`Client::session`] |
//! | [`Election`] | one leader, which proclaims a value | [`Client::election`] |
//! | [`Once`] | one run of a job per period | [`Client::once`] |
//!
//! Each primitive can also run a future while it holds, and drops the future if the hold is lost.
//!
//! The operations are async. Use [`block_on`](block_on()) to call them from code that is not async,
//! with or without a tokio runtime.
//!
//! # Guarantees
//!
//! - Valid holds of one lock never overlap, as long as the server keeps its data and its clock runs
//!   forward at a normal rate.
//! - Every grant has a [fencing token](Hold::fence) greater than every earlier one.
//! - [`Hold::lost`] reports the loss of a hold before the next waiter is granted.
//! - Waiters are granted in order of arrival.
//! - However a future, a guard or a process ends, its lock is free within one lease.
//!
//! No lock can stop a process that is paused between its last check and its write from writing
//! late. Only the protected resource can, by rejecting an old fence.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `redis` (default) | stores on a Redis or Valkey server, a Sentinel group or a cluster |
//! | `postgres` | `postgres://` URLs, for stores in a PostgreSQL database |
//! | `embedded` | `file:///folder` URLs, for stores that the processes of one machine share without a server |
//! | `tls` | TLS to PostgreSQL; `rediss://` URLs, also `rediss+sentinel://` and `rediss+cluster://` |
//! | `calendar` | `Once::hourly` and `Once::daily`, by the calendar of a time zone |
//! | `metrics` | counters, gauges and histograms for the recorder of the crate `metrics`; `docs/observability.md` lists them |
//! | `testing` | `Client::testing`, to test how your code handles losses and faults |
//!
//! The memory store (`memory:`, [`Client::in_memory`]) needs no feature.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod block_on;
mod builder;
mod client;
mod engine;
mod errors;
mod events;
mod holds;
mod keeper;
mod label;
mod primitives;
mod printable;
mod service;
mod sessions;
mod status;
mod store;
mod system;
#[cfg(feature = "testing")]
mod testing;
mod waiting;

pub use block_on::block_on;
pub use builder::ClientBuilder;
#[cfg(feature = "embedded")]
pub use builder::default_store;
pub use client::Client;
pub use errors::error::{
    Contended, Deadlock, Error, HeldBy, Loss, Seconds, Unavailable, UnavailableKind,
};
pub use errors::invalid::Invalid;
pub use errors::lost_reason::LostReason;
pub use errors::refused::{Refused, RefusedKind};
pub use events::event::{Event, EventFields, Level, Logger, NoopLogger};
pub use events::tracing_logger::TracingLogger;
pub use holds::guard::Guard;
pub use holds::guard_all::GuardAll;
pub use holds::hold::{Hold, Lost};
pub use holds::token::Token;
pub use label::Label;
pub use primitives::election::{Election, Leader, Leadership, Observer};
pub use primitives::list::{List, Listed};
pub use primitives::lock::{Asked, Lock};
pub use primitives::lock_all::LockAll;
pub use primitives::once::{Begun, LastRun, Once, Outcome, RunGuard, RunState, Skip};
pub use primitives::rw_lock::RwLock;
pub use primitives::semaphore::Semaphore;
pub use printable::Printable;
pub use sessions::session::Session;
pub use status::{Holder, Sharer, Sharing, Status, Waiter};
pub use store::acknowledgement::Replicas;
pub use store::credentials::Credentials;
pub use store::diagnosis::{Check, CheckStatus};
pub use store::health::{Health, StoreHealth};
#[cfg(feature = "testing")]
pub use store::memory::FaultInjection;
#[cfg(feature = "postgres")]
pub use store::postgres::postgres_schema;
#[cfg(feature = "tls")]
pub use store::tls::Tls;
#[cfg(feature = "testing")]
pub use testing::Testing;
