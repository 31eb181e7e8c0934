//! The keeper's loop: a bounded number of renewals in flight, any number of pending releases.
//!
//! Each renewal may take the command timeout, regardless of the time left of its holds. A renewal
//! that is not answered in time for a hold is repeated in another call: renewals never shorten a
//! TTL, and each answer counts from when its request was sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Ended, Name, Renewal, Renewed};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::finish::finish;
use super::table::{Batch, Plan};
use super::{KeeperShared, on_a_thread};
use crate::errors::lost_reason::LostReason;
use crate::events::event::{Event, Level};
use crate::events::measurement::{ClientMeasurement, Measurement};
use crate::events::metrics;
use crate::events::report::HoldReport;
use crate::holds::hold::HoldState;
use crate::store::{Failure, PendingRelease, StoreHandle};

/// Marks the keeper's task as running until it is dropped.
pub(super) struct Running {
    pub(super) shared: Arc<KeeperShared>,
    /// Whether it runs on a caller's runtime, which may end before the client.
    pub(super) is_guest: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let leaves_work = self.shared.table().stopped();
        self.shared.finished.notify_all();
        if self.is_guest && leaves_work && self.shared.table().start() {
            // If no thread can be started, the leases end by themselves.
            let _ = on_a_thread(self.shared.clone());
        }
    }
}

/// How often late renewals are reported.
const LATE_INTERVAL: Duration = Duration::from_secs(30);

/// Renewals that were sent in one call, and their answers.
struct Answered {
    holds: Vec<(Arc<HoldState>, Renewal)>,
    sent: Duration,
    answers: Result<Vec<Result<Renewed, Failure>>, Failure>,
    _unanswered: Arc<BatchInFlight>,
}

/// Counts a batch as unanswered until the last of its calls has ended.
struct BatchInFlight {
    shared: Arc<KeeperShared>,
    server: u64,
}

impl Drop for BatchInFlight {
    fn drop(&mut self) {
        self.shared.table().call_ended(self.server);
    }
}

/// Runs until the client is dropped and all pending releases are finished.
pub(super) async fn keep(running: Running) {
    let shared = &running.shared;
    let handle = Arc::new(StoreHandle::without_notifications(
        &shared.store,
        &shared.process,
        &shared.monitor,
    ));
    let mut switches = shared.store.switches();
    if switches.is_some() {
        shared.table().watch_server_again(shared.clock.now());
    }
    let mut ends = JoinSet::new();
    let mut renewals = FuturesUnordered::new();
    let mut late_reported = None;
    loop {
        let Plan {
            batches,
            behind,
            lost,
            releases,
            connects,
            wake,
            is_over,
        } = {
            let server_of = |name: &Name| handle.destination(name).server;
            shared.table().plan(shared.clock.now(), server_of)
        };
        lost.iter().for_each(|hold| shared.report_end(hold));
        if is_over {
            return;
        }
        for release in releases {
            ends.spawn(shared.unless_forked(finish(shared.clone(), handle.clone(), release)));
        }
        for (to, limit, connected) in connects {
            let handle = handle.clone();
            ends.spawn(shared.unless_forked(async move {
                // The caller may have dropped its future.
                let _ = connected.send(handle.connect(to.as_ref(), limit).await);
            }));
        }
        for batch in batches {
            renewals.extend(shared.renew(&handle, batch));
        }
        if let Some(behind) = behind {
            shared.report_late(behind, &mut late_reported);
        }
        tokio::select! {
            biased;
            Some(answered) = renewals.next() => shared.renewed(answered),
            Some(_) = ends.join_next() => {}
            () = shared.nudge.notified() => {}
            () = changed(&mut switches) => shared.table().renew_all(shared.clock.now()),
            () = shared.sleep(wake) => {}
        }
    }
}

/// Completes when another server has replaced the current one.
async fn changed(switches: &mut Option<watch::Receiver<()>>) {
    if let Some(switches) = switches
        && switches.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

impl KeeperShared {
    /// Renews a batch: in one call, unless its holds are of several groups, or need other
    /// acknowledgements.
    fn renew<'a>(
        self: &Arc<Self>,
        handle: &'a StoreHandle,
        Batch {
            server,
            holds,
            sent,
        }: Batch,
    ) -> impl Iterator<Item = impl Future<Output = Answered> + use<'a>> + use<'a> {
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for hold in holds {
            let group = handle.destination(&hold.name).group;
            let group = groups.entry((group, hold.options.acknowledgement));
            let renewal = hold.renewal();
            group.or_default().push((hold, renewal));
        }
        let shared = self.clone();
        let unanswered = Arc::new(BatchInFlight { shared, server });
        groups.into_iter().map(move |((_, needed), holds)| {
            let unanswered = unanswered.clone();
            async move {
                let renewals = holds.iter();
                let renewals = renewals.map(|(hold, renewal)| (hold.name.clone(), renewal.clone()));
                let answers = handle
                    .renew(renewals.collect(), needed, Duration::MAX)
                    .await;
                Answered {
                    holds,
                    sent,
                    answers,
                    _unanswered: unanswered,
                }
            }
        })
    }

    async fn sleep(&self, until: Option<Duration>) {
        match until {
            None => std::future::pending().await,
            Some(until) => {
                let time = until.saturating_sub(self.clock.now());
                tokio::time::sleep(time.min(self.clock.longest_sleep())).await;
            }
        }
    }

    fn renewed(&self, answered: Answered) {
        let Answered {
            holds,
            sent,
            answers,
            _unanswered,
        } = answered;
        metrics::record(ClientMeasurement::RenewalCall {
            took: self.clock.now().saturating_sub(sent),
            is_answered: answers.is_ok(),
        });
        match answers {
            Ok(answers) => {
                for ((hold, renewal), answer) in holds.iter().zip(answers) {
                    self.renewed_one(hold, renewal, sent, answer);
                }
            }
            Err(failure) => {
                for (hold, renewal) in &holds {
                    self.renewed_one(hold, renewal, sent, Err(failure.clone()));
                }
            }
        }
    }

    fn renewed_one(
        &self,
        hold: &HoldState,
        renewal: &Renewal,
        sent: Duration,
        answer: Result<Renewed, Failure>,
    ) {
        let now = self.clock.now();
        match answer {
            Ok(Renewed::Renewed { ttl_ms }) => {
                hold.confirm(sent, Duration::from_millis(ttl_ms));
                self.report_renewal(hold, None);
            }
            Ok(_) if !hold.is_refused(renewal) => hold.renew_at(now),
            Ok(not_renewed) => {
                // A release may have been answered before the renewal.
                if hold.over().is_none() {
                    hold.series.record(Measurement::NotRenewed);
                }
                hold.give_up(LostReason::of(not_renewed));
            }
            Err(failure) => {
                let left = hold.validity_end().saturating_sub(now);
                let pause = (left / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
                if hold.fail(sent, now + pause, &failure) {
                    self.report_renewal(hold, Some(&failure));
                }
            }
        }
        self.table().answered(hold, now);
    }

    /// Reports that renewals are sent late, at most once every [`LATE_INTERVAL`].
    fn report_late(&self, behind: Duration, reported: &mut Option<Duration>) {
        let now = self.clock.now();
        if reported.is_none_or(|reported| LATE_INTERVAL <= now.saturating_sub(reported)) {
            *reported = Some(now);
            let holds = self.table().len();
            self.events
                .emit(Level::Warn, || Event::RenewalsLate { holds, behind });
        }
    }

    /// Reports a renewal, unless the hold was released or lost meanwhile.
    fn report_renewal(&self, hold: &HoldState, failure: Option<&Failure>) {
        if hold.over().is_some() {
            return;
        }
        match failure {
            None => self.events.renewed(hold.report()),
            Some(cause) => self.events.renewal_failed(hold.report(), cause),
        }
    }

    pub(super) fn report_released(&self, release: &PendingRelease, reply: Ended) {
        if let (Some(ended), Ended::Released) = (&release.held, reply) {
            let report = HoldReport {
                name: &release.name,
                owner: &release.contender.id,
                fence: ended.fence,
                series: &ended.series,
            };
            self.events.released(report, ended.held);
        }
    }

    /// Reports that a hold is over, and its loss if it was lost.
    pub(super) fn report_end(&self, hold: &HoldState) {
        hold.series.record(Measurement::HoldEnded(hold.held()));
        if let Some(reason) = hold.over().filter(|reason| *reason != LostReason::Released) {
            let loss = hold.loss(reason);
            self.events.lost(hold.report(), hold.held(), &loss);
        }
    }
}
