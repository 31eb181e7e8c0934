//! The keeper's loop: at most one renewal in flight, any number of ends.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Ended, Renewed};
use tokio::task::JoinSet;

use super::finish::finish;
use super::table::Plan;
use super::{Shared, on_a_thread};
use crate::event::{Event, Level};
use crate::hold::HoldState;
use crate::lost_reason::LostReason;
use crate::store::{Failure, Link, Order};

/// Says, when it is dropped, that the task does not run any more.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    /// It is the guest of a caller's runtime, which may end before the client.
    pub(super) is_guest: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let leaves_work = self.shared.table().stopped();
        self.shared.finished.notify_all();
        if self.is_guest && leaves_work && self.shared.table().start() {
            // Without a thread the leases end.
            let _ = on_a_thread(self.shared.clone());
        }
    }
}

type InFlight = Pin<Box<dyn Future<Output = Batch> + Send>>;

/// A renewal that was sent, and what came of it.
struct Batch {
    holds: Vec<Arc<HoldState>>,
    sent: Duration,
    answers: Result<Vec<Result<Renewed, Failure>>, Failure>,
}

/// Runs until the client is gone and everything posted is finished.
pub(super) async fn keep(running: Running) {
    let shared = &running.shared;
    let link = Arc::new(shared.store.deaf_link());
    let mut ends = JoinSet::new();
    let mut renewal: Option<InFlight> = None;
    loop {
        let Plan {
            batch,
            lost,
            orders,
            wake,
            is_over,
        } = shared.table().plan(shared.clock.now(), renewal.is_none());
        if is_over {
            return;
        }
        lost.iter().for_each(|hold| shared.tell_lost(hold));
        for order in orders {
            ends.spawn(finish(shared.clone(), link.clone(), order));
        }
        if !batch.is_empty() {
            renewal = Some(Box::pin(renew(shared.clone(), link.clone(), batch)));
        }
        tokio::select! {
            biased;
            batch = in_flight(&mut renewal) => {
                renewal = None;
                shared.renewed(batch);
            }
            Some(_) = ends.join_next() => {}
            () = shared.nudge.notified() => {}
            () = shared.sleep(wake) => {}
        }
    }
}

async fn in_flight(renewal: &mut Option<InFlight>) -> Batch {
    match renewal {
        Some(renewal) => renewal.await,
        None => std::future::pending().await,
    }
}

async fn renew(shared: Arc<Shared>, link: Arc<Link>, holds: Vec<Arc<HoldState>>) -> Batch {
    let sent = shared.clock.now();
    let least = holds
        .iter()
        .map(|hold| hold.end_of_belief())
        .min()
        .unwrap_or_default();
    let limit = (least.saturating_sub(sent) / 3).max(Duration::from_millis(20));
    let asked: Vec<_> = holds.iter().map(|hold| hold.renewal()).collect();
    let answers = link.renew(&asked, limit).await;
    Batch {
        holds,
        sent,
        answers,
    }
}

impl Shared {
    async fn sleep(&self, until: Option<Duration>) {
        match until {
            None => std::future::pending().await,
            Some(until) => {
                let time = until.saturating_sub(self.clock.now());
                tokio::time::sleep(time.min(self.clock.longest_sleep())).await;
            }
        }
    }

    fn renewed(
        &self,
        Batch {
            holds,
            sent,
            answers,
        }: Batch,
    ) {
        match answers {
            Ok(answers) => {
                for (hold, answer) in holds.iter().zip(answers) {
                    self.renewed_one(hold, sent, answer);
                }
            }
            Err(failure) => {
                for hold in &holds {
                    self.renewed_one(hold, sent, Err(failure.clone()));
                }
            }
        }
    }

    fn renewed_one(&self, hold: &HoldState, sent: Duration, answer: Result<Renewed, Failure>) {
        let now = self.clock.now();
        match answer {
            Ok(Renewed::Renewed { life_ms }) => {
                hold.confirm(sent, Duration::from_millis(life_ms));
                self.tell_of_renewal(hold, None);
            }
            Ok(not_renewed) => {
                hold.give_up(LostReason::of(not_renewed));
            }
            Err(failure) => {
                let left = hold.end_of_belief().saturating_sub(now);
                let pause = (left / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
                hold.postpone(now + pause);
                self.tell_of_renewal(hold, Some(&failure));
            }
        }
        self.table().reschedule(hold, now);
    }

    /// Of one that was released or lost meanwhile it is no news.
    fn tell_of_renewal(&self, hold: &HoldState, failure: Option<&Failure>) {
        if hold.over().is_some() {
            return;
        }
        let (name, fence) = (|| (&hold.name).into(), hold.fence);
        match failure {
            None => self.events.emit(Level::Debug, || Event::Renewed {
                name: name(),
                fence,
            }),
            Some(cause) => self.events.emit(Level::Warn, || Event::RenewalFailed {
                name: name(),
                fence,
                cause: Arc::new(cause.clone()),
            }),
        }
    }

    pub(super) fn tell_released(&self, order: &Order, reply: Ended) {
        if let (Some(fence), Ended::Released) = (order.held, reply) {
            self.events.emit(Level::Debug, || Event::Released {
                name: (&order.name).into(),
                fence,
            });
        }
    }

    pub(super) fn tell_lost(&self, hold: &HoldState) {
        if let Some(reason) = hold.over().filter(|reason| *reason != LostReason::Released) {
            self.events.emit(Level::Error, || Event::Lost {
                name: (&hold.name).into(),
                fence: hold.fence,
                reason,
            });
        }
    }
}
