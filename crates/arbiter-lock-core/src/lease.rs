//! The holder's view of a hold: when to renew it, and when it is lost.
//!
//! Times are measured on the holder's own clock, as the time since a fixed moment.
//! A deadline counts from when the last confirmed request was *sent*. However long the reply was on
//! its way, the store ends the hold no earlier.
//!
//! The store's own clock may run up to 2 % faster. The margin covers that for one TTL.

use std::time::Duration;

/// A store may end a TTL within its last millisecond, and counts whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

/// The shortest pause between a renewal and its repetition.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Decides when to renew a hold, and when it is no longer valid.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use arbiter_lock_core::{Lease, Next};
/// let s = Duration::from_secs;
/// let mut lease = Lease::new(s(0), s(30), s(1), Some(s(10)));
/// assert_eq!(lease.next(s(5)), Next::Sleep { until: s(10) });
/// assert_eq!(lease.next(s(10)), Next::Renew);
/// lease.confirm(s(10), s(30), Some(s(10)));
/// assert_eq!(lease.end(), s(39));
/// assert_eq!(lease.next(s(39)), Next::Lost);
/// ```
#[derive(Clone, Debug)]
pub struct Lease {
    deadline: Duration,
    margin: Duration,
    renewal: Option<Duration>,
    /// When the newest renewal was sent, until it is answered.
    asked: Option<Duration>,
    /// When the newest confirmed request was sent.
    confirmed: Duration,
}

/// The action that a [`Lease`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Do nothing before `until`.
    Sleep {
        /// When to call [`Lease::next`] again.
        until: Duration,
    },
    /// Send a renewal.
    Renew,
    /// Stop using the hold: it may have ended.
    Lost,
}

impl Lease {
    /// Creates the lease of a hold that the store granted for `ttl` on a request sent at `sent`.
    ///
    /// The hold is given up `margin` before its deadline. The first renewal is due `renew_after`
    /// the sending, or never.
    #[must_use]
    pub fn new(
        sent: Duration,
        ttl: Duration,
        margin: Duration,
        renew_after: Option<Duration>,
    ) -> Self {
        Self {
            deadline: sent.saturating_add(ttl),
            margin,
            renewal: renew_after.map(|d| sent.saturating_add(d)),
            asked: None,
            confirmed: sent,
        }
    }

    /// Returns the default margin of a TTL: a fiftieth of it and a millisecond, at least 2 ms.
    ///
    /// A store whose clock runs 2 % faster ends the TTL no earlier.
    #[must_use]
    pub fn default_margin(ttl: Duration) -> Duration {
        (ttl / 50 + ROUNDING).max(ROUNDING * 2)
    }

    /// Sets how long before its deadline the hold is given up.
    pub fn set_margin(&mut self, margin: Duration) {
        self.margin = margin;
    }

    /// Returns the earliest time at which the store ends the hold.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Returns when the holder gives the hold up as lost: the margin before the deadline.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.deadline.saturating_sub(self.margin)
    }

    /// Returns when the newest confirmed request was sent.
    #[must_use]
    pub fn confirmed_at(&self) -> Duration {
        self.confirmed
    }

    /// Returns when a renewal is due, if ever.
    #[must_use]
    pub fn renewal(&self) -> Option<Duration> {
        self.renewal
    }

    /// Returns the action that is due at `now`.
    #[must_use]
    pub fn next(&self, now: Duration) -> Next {
        if self.end() <= now {
            return Next::Lost;
        }
        match self.renewal {
            Some(due) if due <= now => Next::Renew,
            Some(due) => Next::Sleep {
                until: due.min(self.end()),
            },
            None => Next::Sleep { until: self.end() },
        }
    }

    /// Records that a renewal is sent at `sent`. Without a reply, the next one is due after a third
    /// of the time that is left.
    pub fn ask(&mut self, sent: Duration) {
        let pause = self.end().saturating_sub(sent) / 3;
        self.postpone(sent.saturating_add(pause.max(SHORTEST_PAUSE)));
        self.asked = Some(sent);
    }

    /// Returns whether the newest renewal has no reply yet.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.asked.is_some()
    }

    /// Records that a renewal sent at `sent` set a TTL of `ttl`.
    ///
    /// The next one is due `renew_after` that sending, or never. A deadline never moves back, and a
    /// reply to an older renewal does not change when the next one is due.
    pub fn confirm(&mut self, sent: Duration, ttl: Duration, renew_after: Option<Duration>) {
        self.deadline = self.deadline.max(sent.saturating_add(ttl));
        if self.confirmed.max(self.asked.unwrap_or_default()) <= sent {
            self.renewal = renew_after.map(|d| sent.saturating_add(d));
            self.asked = None;
        }
        self.confirmed = self.confirmed.max(sent);
    }

    /// Records that a renewal sent at `sent` has no known outcome. If it was the newest, the next
    /// one is due by `again`. Returns whether nothing sent since is confirmed.
    pub fn fail(&mut self, sent: Duration, again: Duration) -> bool {
        if self.asked == Some(sent) {
            self.renewal = self.renewal.map(|due| due.min(again));
        }
        self.confirmed <= sent
    }

    /// Moves the next renewal to `again`, after one whose outcome is unknown.
    pub fn postpone(&mut self, again: Duration) {
        self.renewal = self.renewal.map(|_| again);
    }
}
