//! Tracks an outage of a store: its start, its last failure, and when to report it.

use std::time::Duration;

use crate::store::Failure;

/// How long a store fails before that is reported.
const FIRST_REPORT: Duration = Duration::from_secs(1);
/// How often it is reported from then on.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// A series of failed requests, which ends with an answer.
#[derive(Default)]
pub(crate) struct Outage {
    current: Option<Current>,
}

struct Current {
    since: Duration,
    failure: Failure,
    next_report: Duration,
}

impl Outage {
    /// Notes the failure of a request that was sent at `sent`. Returns whether to report it.
    pub(crate) fn failed(&mut self, sent: Duration, now: Duration, failure: &Failure) -> bool {
        let current = self.current.get_or_insert_with(|| Current {
            since: sent,
            failure: failure.clone(),
            next_report: sent.saturating_add(FIRST_REPORT),
        });
        if !failure.says_less_than(&current.failure) {
            current.failure = failure.clone();
        }
        let is_due = current.next_report <= now;
        if is_due {
            current.next_report = now.saturating_add(REPORT_INTERVAL);
        }
        is_due
    }

    /// Notes an answer. Returns whether it ends an outage.
    pub(crate) fn answered(&mut self) -> bool {
        self.current.take().is_some()
    }

    /// Returns how long the store has not served at `now`; zero if it serves.
    pub(crate) fn length(&self, now: Duration) -> Duration {
        let since = self.current.as_ref().map(|current| current.since);
        since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Returns the store's last answer, or why there was none.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.current.as_ref().map(|current| &current.failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FailureKind;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn full() -> Failure {
        Failure::before_sending(FailureKind::Full, "OOM")
    }

    #[test]
    fn outage_is_reported_after_a_second_then_rarely() {
        let mut outage = Outage::default();
        let mut reports = Vec::new();
        for at in (0..65_000).step_by(500) {
            if outage.failed(ms(at), ms(at), &full()) {
                reports.push(at);
            }
        }
        assert_eq!(reports, [1_000, 31_000, 61_000]);
        assert!(outage.answered() && !outage.answered());
        assert!(!outage.failed(ms(70_000), ms(70_000), &full()));
        assert_eq!(outage.length(ms(70_400)), ms(400));
    }

    #[test]
    fn silent_request_is_reported_when_it_fails() {
        let silent = Failure::unknown(FailureKind::Silent, "no answer");
        assert!(Outage::default().failed(ms(0), ms(1_000), &silent));
    }

    #[test]
    fn request_without_time_hides_no_answer() {
        let mut outage = Outage::default();
        outage.failed(ms(0), ms(0), &full());
        let no_time = Failure::before_sending(FailureKind::Silent, "no time was left");
        outage.failed(ms(1), ms(1), &no_time);
        assert_eq!(outage.failure(), Some(&full()));
        let silent = Failure::unknown(FailureKind::Silent, "no answer");
        outage.failed(ms(2), ms(2), &silent);
        assert_eq!(outage.failure(), Some(&silent));
    }
}
