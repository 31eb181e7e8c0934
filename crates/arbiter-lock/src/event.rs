//! What the library tells of its work. `tracing` by default, or a [`Logger`] of your own.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Contended, Seconds, Why};
use crate::lost_reason::LostReason;

/// How much an [`Event`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use to one who looks for a fault.
    Debug,
    /// Worth a line.
    Info,
    /// Something to look into.
    Warn,
    /// Work was left unprotected, or something was left behind.
    Error,
}

/// Something that happened. Its `Display` is a message for people.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was granted.
    Acquired {
        /// The resource.
        name: &'a str,
        /// The fencing token.
        fence: u64,
        /// How long it waited.
        waited: Duration,
    },
    /// A request waits: at first, and when its holder or its place has changed.
    Waiting(&'a Contended),
    /// A request to hold alone waits for a hold of its own client, or one that would share for an
    /// exclusive one. A lock is not re-entrant unless it is taken through a session: a nested
    /// acquire waits for itself.
    WaitsForOwnClient {
        /// The resource.
        name: &'a str,
    },
    /// A hold was released, or dropped, and the store has said that it freed it. Where the answer
    /// to that was lost, nobody is told.
    Released {
        /// The resource.
        name: &'a str,
        /// The fencing token.
        fence: u64,
    },
    /// A hold was renewed.
    Renewed {
        /// The resource.
        name: &'a str,
        /// The fencing token.
        fence: u64,
    },
    /// A renewal has no known outcome, and is tried again until the deadline.
    RenewalFailed {
        /// The resource.
        name: &'a str,
        /// The fencing token.
        fence: u64,
        /// Why.
        cause: &'a (dyn std::error::Error + 'static),
    },
    /// Renewals are sent late, by more than a third of the time that was left: this client has more
    /// holds than it can renew in time over this link to this store. Reported at most once every
    /// 30 s.
    RenewalsLate {
        /// How many holds the client has.
        holds: usize,
        /// How long the latest of the renewals had been due.
        behind: Duration,
    },
    /// A hold was lost: told once, by whoever finds out first.
    Lost {
        /// The resource.
        name: &'a str,
        /// The fencing token.
        fence: u64,
        /// Why.
        reason: LostReason,
        /// What the store last answered to a renewal, if that is why the lease ran out.
        cause: Option<&'a (dyn std::error::Error + 'static)>,
    },
    /// What a request left on the store could not be undone within its lease and a minute;
    /// it lapses by itself.
    LeftBehind {
        /// The resource.
        name: &'a str,
        /// Why.
        cause: &'a (dyn std::error::Error + 'static),
    },
    /// The end of a run was not recorded: while it is remembered, it counts as one that crashed.
    EndNotRecorded {
        /// The resource.
        name: &'a str,
        /// The fencing token of the run.
        fence: u64,
        /// Why.
        cause: &'a (dyn std::error::Error + 'static),
    },
    /// A connection to the store was lost, or was given up: nobody answered on it, or its server
    /// has become a replica. It is made anew when it is needed.
    Disconnected {
        /// The store, without secrets.
        store: &'a str,
        /// Why.
        cause: &'a (dyn std::error::Error + 'static),
    },
    /// A connection that was lost stands again.
    Reconnected {
        /// The store, without secrets.
        store: &'a str,
    },
    /// A request cannot be served, and is sent again until its wait limit: reported after a second
    /// of failures, then every 30 s.
    NotServed {
        /// The resource.
        name: &'a str,
        /// The store, without secrets.
        store: &'a str,
        /// How long it has not served.
        since: Duration,
        /// The store's last answer, or why there was none.
        cause: &'a (dyn std::error::Error + 'static),
    },
    /// Some processes of an embedded store are noticed late, since this one may not use what they
    /// have made in its folder. Reported once. Their waiters find a grant at their next poll, and
    /// their deaths are noticed when their leases end.
    NoticedLate {
        /// The store.
        store: &'a str,
        /// Why, and what to do.
        cause: &'a (dyn std::error::Error + 'static),
    },
    /// The environment names no store, so it is the one of this user on this machine: nobody else
    /// is excluded.
    StoreNotNamed {
        /// The store.
        store: &'a str,
    },
}

impl Event<'_> {
    /// How much it matters.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Acquired { .. } | Self::Released { .. } | Self::Renewed { .. } => Level::Debug,
            Self::Waiting(_) | Self::Reconnected { .. } => Level::Info,
            Self::WaitsForOwnClient { .. }
            | Self::RenewalFailed { .. }
            | Self::RenewalsLate { .. }
            | Self::EndNotRecorded { .. }
            | Self::Disconnected { .. }
            | Self::NotServed { .. }
            | Self::NoticedLate { .. }
            | Self::StoreNotNamed { .. } => Level::Warn,
            Self::Lost { .. } | Self::LeftBehind { .. } => Level::Error,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquired {
                name,
                fence,
                waited,
            } => {
                write!(
                    f,
                    "acquired '{}' with fence {fence} after {waited:?}",
                    name.escape_debug()
                )
            }
            Self::Waiting(contended) => write!(f, "waiting: {contended}"),
            Self::WaitsForOwnClient { name } => write!(
                f,
                "waiting for '{}', which this very client holds: nested locking needs a session",
                name.escape_debug()
            ),
            Self::Released { name, fence } => {
                write!(f, "released '{}' with fence {fence}", name.escape_debug())
            }
            Self::Renewed { name, fence } => {
                write!(f, "renewed '{}' with fence {fence}", name.escape_debug())
            }
            Self::RenewalFailed { name, fence, cause } => write!(
                f,
                "a renewal of '{}' with fence {fence} has no known outcome and is tried again: the store {cause}",
                name.escape_debug()
            ),
            Self::RenewalsLate { holds, behind } => write!(
                f,
                "renewals are sent late, by up to {behind:?}: the {holds} holds of this client need a \
                 longer lease, a shorter way to the store, or more than one client"
            ),
            Self::Lost {
                name,
                fence,
                reason,
                cause,
            } => {
                write!(
                    f,
                    "lost '{}' with fence {fence}: {}",
                    name.escape_debug(),
                    Why(*reason, *cause)
                )
            }
            Self::LeftBehind { name, cause } => write!(
                f,
                "left '{}' to lapse by itself, since the store {cause}",
                name.escape_debug()
            ),
            Self::EndNotRecorded { name, fence, cause } => write!(
                f,
                "the end of the run of '{}' with fence {fence} was not recorded: {cause}",
                name.escape_debug()
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
                "still trying to lock '{}': for {} the store {store} {cause}",
                name.escape_debug(),
                Seconds(*since)
            ),
            Self::Reconnected { store } => write!(f, "connected to {store} again"),
            Self::NoticedLate { store, cause } => write!(
                f,
                "some processes are noticed late: the store {store} {cause}"
            ),
            Self::StoreNotNamed { store } => write!(
                f,
                "no store is named, so it is {store}: what runs as this user on this machine is \
                 excluded, and nothing else"
            ),
        }
    }
}

/// Where events go. Any `Fn(&Event<'_>)` is one, too.
///
/// It is called from the middle of the library's work, on the caller's threads and on the
/// keeper's: it must not block.
///
/// # Examples
/// ```
/// use arbiter_lock::{Client, Event, Level};
///
/// # async fn example() -> Result<(), arbiter_lock::Error> {
/// let client = Client::builder()
///     .store("memory:")
///     .logger(|event: &Event<'_>| {
///         if Level::Warn <= event.level() {
///             eprintln!("{event}");
///         }
///     })
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
pub trait Logger: Send + Sync + 'static {
    /// Takes note of an event.
    fn log(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Logger for F {
    fn log(&self, event: &Event<'_>) {
        self(event);
    }
}

/// A logger whose panics end with it: a line of a log must cost no hold.
pub(crate) fn contained(logger: Arc<dyn Logger>) -> Arc<dyn Logger> {
    Arc::new(Contained(logger))
}

struct Contained(Arc<dyn Logger>);

impl Logger for Contained {
    fn log(&self, event: &Event<'_>) {
        // The panic hook has told of it.
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.log(event)));
    }
}

/// A [`Logger`] that drops every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopLogger;

impl Logger for NoopLogger {
    fn log(&self, _: &Event<'_>) {}
}

/// The default [`Logger`]: events of the `tracing` crate, target `arbiter_lock`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TracingLogger;

impl Logger for TracingLogger {
    fn log(&self, event: &Event<'_>) {
        match event.level() {
            Level::Debug => tracing::debug!(target: "arbiter_lock", "{event}"),
            Level::Info => tracing::info!(target: "arbiter_lock", "{event}"),
            Level::Warn => tracing::warn!(target: "arbiter_lock", "{event}"),
            Level::Error => tracing::error!(target: "arbiter_lock", "{event}"),
        }
    }
}
