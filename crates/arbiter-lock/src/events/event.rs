//! Reports of the library's work, to `tracing` by default or to a [`Logger`] of your own.

mod fields;
mod queue;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::errors::error::{Contended, Seconds, Why};
use crate::errors::lost_reason::LostReason;
use crate::printable::Printable;
pub use fields::EventFields;
pub(crate) use queue::EventQueue;

/// The severity of an [`Event`].
///
/// The levels are those of `tracing` of the same names, and in their order: `Debug` is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Normal operation: grants, renewals, releases. Each takes an entry of the queue, so a logger
    /// that does not want them disables the level in [`Logger::enabled`].
    Debug,
    /// A wait, or a connection that was restored.
    Info,
    /// Something to look into: a failed renewal, a lost connection, dropped events.
    Warn,
    /// Work was left unprotected, or something was left behind.
    Error,
}

type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// A report of something that happened. Its `Display` is a readable message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A request was granted.
    Acquired {
        /// The resource.
        name: Arc<str>,
        /// The fencing token.
        fence: u64,
        /// The owner, as [`Hold::owner`](crate::Hold::owner).
        owner: Arc<str>,
        /// How long it waited.
        waited: Duration,
    },
    /// A request waits. Reported at first, and if its holder or its place has changed.
    Waiting(Box<Contended>),
    /// A request has waited for 30 s behind one hold of its own client, and waits on. Another task
    /// may release it, but a nested acquire waits for itself. Reported once per request. A request
    /// to share does not count as waiting for shared holds of its client.
    WaitsForOwnClient {
        /// The resource.
        name: Arc<str>,
    },
    /// A hold was released or dropped, and the store has confirmed that it is free. Not reported if
    /// that answer was lost.
    Released {
        /// The resource.
        name: Arc<str>,
        /// The fencing token.
        fence: u64,
        /// The owner, as [`Hold::owner`](crate::Hold::owner).
        owner: Arc<str>,
        /// How long it was held: from the grant until the guard was released or dropped.
        held: Duration,
    },
    /// A hold was [detached](crate::Guard::into_token): it stays in the store without a process.
    Detached {
        /// The resource.
        name: Arc<str>,
        /// The fencing token.
        fence: u64,
        /// The owner before, as [`Hold::owner`](crate::Hold::owner).
        owner: Arc<str>,
        /// The owner since then.
        to: Arc<str>,
        /// How long this client held it.
        held: Duration,
    },
    /// A hold was renewed.
    Renewed {
        /// The resource.
        name: Arc<str>,
        /// The fencing token.
        fence: u64,
        /// The owner, as [`Hold::owner`](crate::Hold::owner).
        owner: Arc<str>,
    },
    /// A renewal has no known outcome, and is sent again until the deadline.
    RenewalFailed {
        /// The resource.
        name: Arc<str>,
        /// The fencing token.
        fence: u64,
        /// The owner, as [`Hold::owner`](crate::Hold::owner).
        owner: Arc<str>,
        /// Why.
        cause: Cause,
    },
    /// Renewals are sent late, by more than a third of the time that was left. This client has more
    /// holds than it can renew in time over this link to this store. Reported at most once every 30
    /// s.
    RenewalsLate {
        /// How many holds the client has.
        holds: usize,
        /// How long the latest of the renewals had been due.
        behind: Duration,
    },
    /// A hold was lost. Reported once.
    Lost {
        /// The resource.
        name: Arc<str>,
        /// The fencing token.
        fence: u64,
        /// The owner, as [`Hold::owner`](crate::Hold::owner).
        owner: Arc<str>,
        /// How long it was held: from the grant until the loss was noticed, and at most until its
        /// deadline.
        held: Duration,
        /// Why.
        reason: LostReason,
        /// The store's last answer to a renewal, if that is why the lease expired.
        cause: Option<Cause>,
    },
    /// A request's traces on the store could not be removed within its lease and 60 s. They expire
    /// on their own.
    LeftBehind {
        /// The resource.
        name: Arc<str>,
        /// Why.
        cause: Cause,
    },
    /// The end of a run was not recorded. While the run is remembered, it counts as crashed.
    EndNotRecorded {
        /// The resource.
        name: Arc<str>,
        /// The fencing token of the run.
        fence: u64,
        /// Why.
        cause: Cause,
    },
    /// A connection to the store was lost or closed. It is closed if it does not answer, or if its
    /// server has become a replica. The next request dials again.
    Disconnected {
        /// The store, without secrets.
        store: Arc<str>,
        /// Why.
        cause: Cause,
    },
    /// A lost connection was replaced.
    Reconnected {
        /// The store, without secrets.
        store: Arc<str>,
    },
    /// The sentinels or the nodes of a cluster announced another master. Connections to the old one
    /// were closed, and every hold is renewed at once, except holds without the
    /// [watchdog](crate::Lock::watchdog).
    MasterReplaced {
        /// The store, without secrets.
        store: Arc<str>,
        /// The address of the old master.
        from: Arc<str>,
        /// The address of the new master.
        to: Arc<str>,
    },
    /// No majority of the sentinels answers. No request is granted or renewed until a majority
    /// answers, unless the master refuses writes without replicas and sees all of them. Reported
    /// once per outage.
    SentinelsOutOfReach {
        /// The store, without secrets.
        store: Arc<str>,
        /// Why.
        cause: Cause,
    },
    /// The master of a Sentinel group accepts writes without replicas. A replaced master may then
    /// accept renewals until a sentinel demotes it. Reported once.
    UnprotectedMaster {
        /// The store, without secrets.
        store: Arc<str>,
    },
    /// A request cannot be served, and is sent again until its wait limit. Reported after 1 s of
    /// failures, then every 30 s.
    NotServed {
        /// The resource.
        name: Arc<str>,
        /// The store, without secrets.
        store: Arc<str>,
        /// How long it has not served.
        since: Duration,
        /// The store's last answer, or why there was none.
        cause: Cause,
    },
    /// Some processes of an embedded store are noticed late, since this process lacks the rights to
    /// their files. Reported once. Their waiters find a grant at their next poll, and their deaths
    /// are noticed when their leases end.
    NoticedLate {
        /// The store.
        store: Arc<str>,
        /// Why, and what to do.
        cause: Cause,
    },
    /// The environment names no store, so the store is that of this user on this machine. Other
    /// users and other machines are not excluded.
    StoreNotNamed {
        /// The store.
        store: Arc<str>,
    },
    /// The file that contained the store's URL names another store now. The client keeps its store,
    /// and its last login to it. Reported once.
    StoreFileChanged {
        /// The store, without secrets.
        store: Arc<str>,
        /// The path of the file.
        path: Arc<str>,
    },
    /// Events were dropped, since the [`Logger`] was too slow. This event takes their place.
    EventsDropped {
        /// How many.
        count: u64,
    },
}

/// Returns the time in seconds, as fields and metrics carry it.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

impl Event {
    /// Returns the level of the event.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Acquired { .. }
            | Self::Released { .. }
            | Self::Detached { .. }
            | Self::Renewed { .. } => Level::Debug,
            Self::Waiting(_) | Self::Reconnected { .. } => Level::Info,
            Self::WaitsForOwnClient { .. }
            | Self::RenewalFailed { .. }
            | Self::RenewalsLate { .. }
            | Self::EndNotRecorded { .. }
            | Self::Disconnected { .. }
            | Self::MasterReplaced { .. }
            | Self::SentinelsOutOfReach { .. }
            | Self::UnprotectedMaster { .. }
            | Self::NotServed { .. }
            | Self::NoticedLate { .. }
            | Self::StoreNotNamed { .. }
            | Self::StoreFileChanged { .. }
            | Self::EventsDropped { .. } => Level::Warn,
            Self::Lost { .. } | Self::LeftBehind { .. } => Level::Error,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquired {
                name,
                fence,
                waited,
                ..
            } => {
                write!(
                    f,
                    "acquired '{}' with fence {fence} after {}",
                    Printable(name),
                    Seconds(*waited)
                )
            }
            Self::Waiting(contended) => write!(f, "waiting: {contended}"),
            Self::WaitsForOwnClient { name } => write!(
                f,
                "still waiting for '{}', which this client holds: another of its tasks has to \
                 release it, and nested locking needs a session",
                Printable(name)
            ),
            Self::Released {
                name, fence, held, ..
            } => write!(
                f,
                "released '{}' with fence {fence} after {}",
                Printable(name),
                Seconds(*held)
            ),
            Self::Detached {
                name, fence, held, ..
            } => write!(
                f,
                "detached '{}' with fence {fence} after {}",
                Printable(name),
                Seconds(*held)
            ),
            Self::Renewed { name, fence, .. } => {
                write!(f, "renewed '{}' with fence {fence}", Printable(name))
            }
            Self::RenewalFailed {
                name, fence, cause, ..
            } => write!(
                f,
                "a renewal of '{}' with fence {fence} failed and is tried again: the store {cause}",
                Printable(name)
            ),
            Self::RenewalsLate { holds, behind } => write!(
                f,
                "renewals are sent late, by up to {}: the {holds} holds of this client need a \
                 longer lease, a shorter way to the store, or more than one client",
                Seconds(*behind)
            ),
            Self::Lost {
                name,
                fence,
                held,
                reason,
                cause,
                ..
            } => {
                write!(
                    f,
                    "lost '{}' with fence {fence} after {}: {}",
                    Printable(name),
                    Seconds(*held),
                    Why(*reason, cause.as_deref().map(|cause| cause as _))
                )
            }
            Self::LeftBehind { name, cause } => write!(
                f,
                "left '{}' to expire by itself, since the store {cause}",
                Printable(name)
            ),
            Self::EndNotRecorded { name, fence, cause } => write!(
                f,
                "the end of the run of '{}' with fence {fence} was not recorded: {cause}",
                Printable(name)
            ),
            Self::Disconnected { store, cause } => {
                write!(f, "lost a connection: the store {store} {cause}")
            }
            Self::NotServed {
                name,
                store,
                since,
                cause,
            } => write!(
                f,
                "'{}' is not served for {} and is tried again: the store {store} {cause}",
                Printable(name),
                Seconds(*since)
            ),
            Self::MasterReplaced { store, from, to } => {
                write!(
                    f,
                    "the master of {store} is {} now, and was {}",
                    Printable(to),
                    Printable(from)
                )
            }
            Self::SentinelsOutOfReach { store, cause } => write!(
                f,
                "no majority of the sentinels answers: the store {store} {cause}"
            ),
            Self::UnprotectedMaster { store } => write!(
                f,
                "the master of {store} accepts writes without replicas, so a master that was \
                 replaced may do so for a while: set min-replicas-to-write and \
                 min-replicas-max-lag on its servers"
            ),
            Self::Reconnected { store } => write!(f, "connected to {store} again"),
            Self::NoticedLate { store, cause } => write!(
                f,
                "some processes are noticed late: the store {store} {cause}"
            ),
            Self::StoreNotNamed { store } => write!(
                f,
                "no store is named, so it is {store}: only processes of this user on this machine \
                 exclude each other"
            ),
            Self::StoreFileChanged { store, path } => write!(
                f,
                "{path} names another store than {store}, which stays in use: start again to use \
                 the other one"
            ),
            Self::EventsDropped { count } => {
                write!(f, "{count} events were dropped: the logger is too slow")
            }
        }
    }
}

/// Logs events. Any `Fn(&Event)` is a logger, too.
///
/// Each client has a queue of 1,024 events. One thread of the client logs them one by one, in
/// order; the first event starts it. So a logger may block, panic, use the client, or drop it: no
/// renewal, grant, release or loss waits for it. [`Hold::lost`](crate::Hold::lost) may complete
/// before the loss is logged. While the queue is full, new events are dropped and counted;
/// [`Event::EventsDropped`] reports how many. If the system cannot start a thread, events wait in
/// the queue until it can.
///
/// [`Client::shutdown`](crate::Client::shutdown) and the drop of the last handle each wait at most
/// 250 ms for the logger. Events that are still queued are logged as long as the process lives. A
/// logger that owns a handle of its own client keeps that client alive.
///
/// # Examples
/// ```
/// use arbiter_lock::{Client, Event, Level};
///
/// # async fn example() -> Result<(), arbiter_lock::Error> {
/// let client = Client::builder()
///     .store("memory:")
///     .logger(|event: &Event| {
///         if Level::Warn <= event.level() {
///             eprintln!("{event}");
///         }
///     })
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
pub trait Logger: Send + Sync + 'static {
    /// Logs an event.
    fn log(&self, event: &Event);

    /// Returns whether events of that level are logged. By default, all are.
    ///
    /// It is called before an event is made, on the thread that does the work. So it must use no
    /// I/O, no locks and no client.
    fn enabled(&self, level: Level) -> bool {
        let _ = level;
        true
    }
}

impl<F: Fn(&Event) + Send + Sync + 'static> Logger for F {
    fn log(&self, event: &Event) {
        self(event);
    }
}

/// A [`Logger`] that drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopLogger;

impl Logger for NoopLogger {
    fn log(&self, _: &Event) {}

    fn enabled(&self, _: Level) -> bool {
        false
    }
}
