//! The holder's side of a hold: when to renew it, and when it is lost.
//!
//! Times are counted on the holder's own clock, as the time since some fixed moment of it.
//! A deadline counts from when the last confirmed request was *sent*: whatever the network
//! did to the reply, the store ends the hold no earlier.
//!
//! The store counts on its own clock, which may run up to a fiftieth faster. The margin covers
//! that over one life.

use std::time::Duration;

/// A store may end a life within its last millisecond, and counts in whole ones.
const ROUNDING: Duration = Duration::from_millis(1);

/// The least time between a renewal and its repetition.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// When to renew a hold, and when it may no longer be believed.
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
    /// When the newest renewal was sent, while it has no answer.
    asked: Option<Duration>,
    /// When the newest confirmed request was sent.
    confirmed: Duration,
}

/// What a [`Lease`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before that moment.
    Sleep {
        /// When to ask again.
        until: Duration,
    },
    /// A renewal is due.
    Renew,
    /// The hold may no longer be ours.
    Lost,
}

impl Lease {
    /// A hold whose request was sent at `sent` and which the store set a life of `life` for.
    /// It is given up `margin` before its deadline; the first renewal is due `renew_after`
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

    /// Returns the default margin of a life: a fiftieth of it and a millisecond, at least 2 ms.
    ///
    /// A store whose clock runs a fiftieth faster ends the life no earlier.
    #[must_use]
    pub fn default_margin(ttl: Duration) -> Duration {
        (ttl / 50 + ROUNDING).max(ROUNDING * 2)
    }

    /// Gives the hold up that long before its deadline from now on.
    pub fn set_margin(&mut self, margin: Duration) {
        self.margin = margin;
    }

    /// When the store ends the hold, at the earliest.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// When the holder gives the hold up for lost: the margin before the deadline.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.deadline.saturating_sub(self.margin)
    }

    /// When a renewal is due, if ever.
    #[must_use]
    pub fn renewal(&self) -> Option<Duration> {
        self.renewal
    }

    /// What is to be done at `now`.
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

    /// Notes that a renewal is sent at `sent`: without an answer the next is due after a third of
    /// what is left.
    pub fn ask(&mut self, sent: Duration) {
        let pause = self.end().saturating_sub(sent) / 3;
        self.postpone(sent.saturating_add(pause.max(SHORTEST_PAUSE)));
        self.asked = Some(sent);
    }

    /// Whether the newest renewal has no answer yet.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.asked.is_some()
    }

    /// A renewal that was sent at `sent` set a life of `life`; the next is due `renew_after`
    /// that sending, or never. A deadline never moves back, and an answer to an older renewal
    /// than the newest says nothing about when the next is due.
    pub fn confirm(&mut self, sent: Duration, ttl: Duration, renew_after: Option<Duration>) {
        self.deadline = self.deadline.max(sent.saturating_add(ttl));
        if self.confirmed.max(self.asked.unwrap_or_default()) <= sent {
            self.renewal = renew_after.map(|d| sent.saturating_add(d));
            self.asked = None;
        }
        self.confirmed = self.confirmed.max(sent);
    }

    /// Notes that a renewal sent at `sent` has no known outcome: if it was the newest, the next
    /// is due at `again` at the latest. Returns whether nothing sent since is confirmed.
    pub fn fail(&mut self, sent: Duration, again: Duration) -> bool {
        if self.asked == Some(sent) {
            self.renewal = self.renewal.map(|due| due.min(again));
        }
        self.confirmed <= sent
    }

    /// A renewal was tried and its outcome is unknown: the next is due at `again`.
    pub fn postpone(&mut self, again: Duration) {
        self.renewal = self.renewal.map(|_| again);
    }

    /// No renewal is due any more; the hold lasts until its deadline.
    pub fn stop_renewing(&mut self) {
        self.renewal = None;
    }
}
