//! The errors of operations, one kind for each action that the caller can take.

use std::fmt;
use std::time::Duration;

use arbiter_lock_core::{PLACES, provisional_ttl_ms};

use crate::errors::invalid::Invalid;
use crate::errors::lost_reason::LostReason;
use crate::errors::refused::{Refused, RefusedKind};
use crate::printable::Printable;
use crate::status::Holder;
use crate::store::{Failure, FailureKind};

/// The error of an operation.
///
/// It distinguishes contention ([`Error::Contended`]), an outage of the store
/// ([`Error::Unavailable`]) and the loss of a hold ([`Error::Lost`]).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), arbiter_lock::Error> {
/// use arbiter_lock::Error;
///
/// # let client = arbiter_lock::Client::in_memory();
/// match client.lock("report").acquire().await {
///     Ok(guard) => guard.release().await?,
///     Err(Error::Contended(held)) => println!("busy for {:?}", held.waited), // try later
///     Err(Error::Unavailable(outage)) => println!("{} is down", outage.store),
///     Err(error) => return Err(error),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The resource is held, and the wait limit has passed. Try again later.
    #[doc(alias = "ErrLockTimeout")]
    Contended(Box<Contended>),
    /// Sessions of this client wait for each other, so no session of the cycle can continue.
    /// Release the session's holds, and start again.
    Deadlock(Box<Deadlock>),
    /// The hold was lost: the work was not protected until its end.
    #[doc(alias = "ErrLockNotHeld")]
    Lost(Box<Loss>),
    /// The store did not serve the request in time: it is down, silent, busy, full or read-only.
    /// The client undoes possible effects of the request in the background.
    Unavailable(Box<Unavailable>),
    /// The store refuses the request, and a retry does not help. For example, the key holds other
    /// data, the password or the rights do not suffice, the server is too old, or another limit is
    /// in force.
    Refused(Box<Refused>),
    /// An argument is invalid. Nothing was sent.
    Invalid(Box<Invalid>),
    /// The client was shut down.
    Closed,
    /// The client or the hold belongs to the process from which this one was forked. Nothing was
    /// sent. Create a new client in this process.
    Forked,
}

/// A request that was not granted within its wait limit, and the holder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Contended {
    /// The resource.
    pub name: String,
    /// The holder when last polled. `None` if the resource was just being handed off, or if other
    /// names of [`Client::lock_all`](crate::Client::lock_all) took all the time.
    pub holder: Option<Holder>,
    /// Whether that holder is this client, or this session.
    pub held_by: HeldBy,
    /// The place in the queue when last polled, from 1 to 100; 101 is any place behind. `None` for
    /// a request that does not wait.
    pub place: Option<u64>,
    /// How long the caller waited.
    pub waited: Duration,
}

/// The owner of the hold that a request waited for.
///
/// It is decided by the holds of this client that are valid at that moment. If several holders
/// share the resource, one of them is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeldBy {
    /// A hold of another client, or unknown.
    Other,
    /// A hold of this client. Another task may release it, but a nested acquire waits for itself:
    /// nested locking needs a [`Session`](crate::Session).
    ThisClient,
    /// A hold of the same session that was lost, and of which guards still exist.
    ThisSession,
}

/// Sessions of one client that wait for each other.
///
/// The session that began to wait last gets the error, and the others continue once it releases its
/// holds. The error is returned about 1 s after the cycle has formed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// The names in the cycle. The session waits for the first, whose holder waits for the second,
    /// and so on. The session itself holds the last.
    pub names: Vec<String>,
}

/// A hold that was lost.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loss {
    /// The resource.
    pub name: String,
    /// Why it was lost.
    pub reason: LostReason,
    pub(crate) failure: Option<Failure>,
}

impl Loss {
    /// Returns the store's last answer to a renewal, if that is why the lease expired.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failure.as_ref().map(|failure| failure as _)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Printable(&self.name);
        write!(
            f,
            "lost the lock '{name}': {}",
            Why(self.reason, self.cause())
        )
    }
}

/// A reason for a loss, with the store's last answer if there is one.
pub(crate) struct Why<'a>(
    pub(crate) LostReason,
    pub(crate) Option<&'a (dyn std::error::Error + 'static)>,
);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match self.1 {
            Some(cause) => write!(f, " (it {cause})"),
            None => Ok(()),
        }
    }
}

/// A request that the store did not serve in time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unavailable {
    /// The resource.
    pub name: String,
    /// The store, without secrets.
    pub store: String,
    /// Why the store did not serve it, by the last answer.
    pub kind: UnavailableKind,
    pub(crate) failure: Failure,
}

/// The kind of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnavailableKind {
    /// No connection could be established, or it was lost.
    Unreachable,
    /// The store did not answer in time.
    Silent,
    /// The wait limit passed before a first answer could arrive. This is not an outage: a longer
    /// wait gets an answer.
    WaitTooShort,
    /// The store is loading its data, or busy in a script.
    Busy,
    /// The store is a replica, or is read-only.
    ReadOnly,
    /// The store is at its memory limit, or cannot write to its disk.
    Full,
    /// The store has fewer replicas than its configuration requires for a write.
    NoReplicas,
    /// The system refuses this process a file descriptor or a thread, which it needs to use the
    /// store.
    System,
    /// The store answered with another error.
    Other,
}

impl Error {
    /// Returns the name of the resource, if the error has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Contended(e) => Some(&e.name),
            Self::Deadlock(e) => e.names.first().map(String::as_str),
            Self::Lost(e) => Some(&e.name),
            Self::Unavailable(e) => Some(&e.name).filter(|n| !n.is_empty()).map(String::as_str),
            Self::Refused(e) => Some(&e.name).filter(|n| !n.is_empty()).map(String::as_str),
            Self::Invalid(_) | Self::Closed | Self::Forked => None,
        }
    }

    /// Returns whether the resource was held and the wait limit has passed.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        matches!(self, Self::Contended(_))
    }

    /// Returns whether sessions of this client wait for each other.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        matches!(self, Self::Deadlock(_))
    }

    /// Returns whether the hold was lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// Returns whether the store did not serve the request in time.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    pub(crate) fn deadlock(names: Vec<String>) -> Self {
        Self::Deadlock(Box::new(Deadlock { names }))
    }

    /// Returns the error for a failure of the store.
    /// Returns the value of the label or field `outcome` of an acquire that failed.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Contended(_) => "contended",
            Self::Deadlock(_) => "deadlock",
            Self::Lost(_) => "lost",
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Invalid(_) => "invalid",
            Self::Closed => "closed",
            Self::Forked => "forked",
        }
    }

    pub(crate) fn of_store(name: &str, store: &str, failure: Failure) -> Self {
        let (name, store) = (name.to_owned(), store.to_owned());
        let unavailable = |kind| {
            Self::Unavailable(Box::new(Unavailable {
                name: name.clone(),
                store: store.clone(),
                kind,
                failure: failure.clone(),
            }))
        };
        let kind = match failure.kind {
            FailureKind::Forked => return Self::Forked,
            FailureKind::WrongType => RefusedKind::WrongType,
            FailureKind::Damaged => RefusedKind::Damaged,
            FailureKind::Denied | FailureKind::Rejected => RefusedKind::Denied,
            FailureKind::Unsupported | FailureKind::Malformed => RefusedKind::Unsupported,
            FailureKind::WrongUrl => RefusedKind::WrongUrl,
            FailureKind::Unreachable => return unavailable(UnavailableKind::Unreachable),
            FailureKind::Silent => return unavailable(UnavailableKind::Silent),
            FailureKind::WaitTooShort => return unavailable(UnavailableKind::WaitTooShort),
            FailureKind::Loading | FailureKind::Moving => {
                return unavailable(UnavailableKind::Busy);
            }
            FailureKind::ReadOnly => return unavailable(UnavailableKind::ReadOnly),
            FailureKind::Full => return unavailable(UnavailableKind::Full),
            FailureKind::NoReplicas => return unavailable(UnavailableKind::NoReplicas),
            FailureKind::System => return unavailable(UnavailableKind::System),
            FailureKind::Other => return unavailable(UnavailableKind::Other),
        };
        Self::Refused(Box::new(Refused {
            name,
            store,
            kind,
            failure: Some(failure),
        }))
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(Box::new(invalid))
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contended(e) => e.fmt(f),
            Self::Deadlock(e) => e.fmt(f),
            Self::Lost(e) => e.fmt(f),
            Self::Unavailable(e) => e.failure.write_of(f, &e.name, &e.store),
            Self::Refused(e) => e.fmt(f),
            Self::Invalid(e) => e.fmt(f),
            Self::Closed => f.write_str("the client was shut down"),
            Self::Forked => f.write_str(
                "the client belongs to the process from which this one was forked; create a new client in this process",
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(e) => Some(&e.failure),
            Self::Lost(e) => e.cause(),
            Self::Refused(e) => e.failure.as_ref().map(|failure| failure as _),
            _ => None,
        }
    }
}

impl fmt::Display for Contended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock '{}' ", Printable(&self.name))?;
        match (&self.holder, self.place) {
            (Some(holder), _) => write!(f, "is held by {holder}")?,
            (None, Some(_)) => f.write_str("is held")?,
            (None, None) => f.write_str("was not granted in time")?,
        }
        f.write_str(match self.held_by {
            HeldBy::Other => "",
            HeldBy::ThisClient => "; this client holds it, and nested locking needs a session",
            HeldBy::ThisSession => "; this session lost it, and has to drop its guards first",
        })?;
        match self.place {
            Some(place) if PLACES < place => {
                write!(f, "; your place in the queue was beyond {PLACES}")
            }
            Some(place) => write!(f, "; your place in the queue was {place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |name: &String| format!("'{}'", Printable(name));
        let names: Vec<_> = self.names.iter().map(quoted).collect();
        write!(
            f,
            "sessions of this client wait for each other for {}: release the locks of this one, and \
             acquire the names in the same order everywhere, or together by lock_all",
            names.join(", ")
        )
    }
}

/// A hold that lasts less than this in all may be an unclaimed grant. It is the provisional TTL,
/// plus the most that rounding adds.
const UNCLAIMED: Duration = Duration::from_millis(provisional_ttl_ms(u64::MAX) + 10);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.fence.is_none() {
            write!(
                f,
                "a client without a label (owner {})",
                Printable(&self.owner)
            )?;
        } else if self.is_shared() {
            write!(f, "shared holders, the longest by {}", self.label)?;
        } else {
            f.write_str(if self.is_detached() {
                "a detached hold of "
            } else {
                ""
            })?;
            self.label.fmt(f)?;
        }
        if let Some(held) = self.held {
            write!(f, ", for {}", Seconds(held))?;
        }
        match self.remaining {
            // A grant that its waiter has not claimed yet: this is not its lease.
            Some(left) if self.held.is_some_and(|held| held + left < UNCLAIMED) => Ok(()),
            Some(left) => write!(f, ", {} left of its lease", Seconds::left(left)),
            None => f.write_str(", without end"),
        }
    }
}

/// Formats a duration for display: `1.2 s`, `12 s`, `5 min`, `3 h`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use arbiter_lock::Seconds;
///
/// assert_eq!(Seconds(Duration::from_micros(41_200)).to_string(), "42 ms");
/// assert_eq!(Seconds(Duration::from_millis(1_234)).to_string(), "1.2 s");
/// assert_eq!(Seconds(Duration::from_secs(3_600)).to_string(), "60 min");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// Rounds a time that is left up to the unit that is shown, so that it has passed by then.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use arbiter_lock::Seconds;
    ///
    /// assert_eq!(Seconds::left(Duration::from_millis(3_599_100)).to_string(), "60 min");
    /// assert_eq!(Seconds::left(Duration::from_millis(29_970)).to_string(), "30 s");
    /// ```
    #[must_use]
    pub fn left(left: Duration) -> Self {
        let unit_ms = match left.as_secs() {
            0 if left < Duration::from_millis(100) => 1,
            0..10 => 100,
            10..120 => 1_000,
            120..7_200 => 60_000,
            _ => 3_600_000,
        };
        let millis = left.as_nanos().div_ceil(1_000_000 * unit_ms) * unit_ms;
        Self(u64::try_from(millis).map_or(left, Duration::from_millis))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 if self.0 < Duration::from_millis(100) => {
                write!(f, "{} ms", self.0.as_micros().div_ceil(1_000))
            }
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            s @ 10..120 => write!(f, "{s} s"),
            s @ 120..7_200 => write!(f, "{} min", s / 60),
            s => write!(f, "{} h", s / 3_600),
        }
    }
}
