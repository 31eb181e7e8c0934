//! Renews holds and finishes pending releases, independently of the caller's runtime.
//!
//! A caller that blocks its executor or drops its runtime neither loses nor leaks a lock. The
//! keeper never acquires and never polls.

mod finish;
mod table;
mod task;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use arbiter_lock_core::Name;
use table::Table;

use crate::block_on::is_blocking;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::events::event::EventQueue;
use crate::events::measurement::Measurement;
use crate::holds::hold::HoldState;
use crate::store::{Failure, FailureKind, PendingRelease, Store, StoreMonitor};
use crate::system::clock::Clock;
use crate::system::process::{ForkGeneration, UnlessForked};

/// A client's keeper.
///
/// Its drop waits for at most [`LINGER`] for pending releases and for the logger.
pub(crate) struct Keeper {
    shared: Arc<KeeperShared>,
}

/// The state that callers and the keeper's task share.
pub(crate) struct KeeperShared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) events: EventQueue,
    monitor: Arc<StoreMonitor>,
    /// The process of the client.
    process: ForkGeneration,
    table: Mutex<Table>,
    nudge: Notify,
    /// Notified when a pending release is finished.
    finished: Condvar,
}

/// How much longer than its limit a caller waits for the keeper's connection.
const LATE: Duration = Duration::from_millis(100);

/// How long the drop of the last handle waits, and how long a shutdown waits for the logger.
pub(crate) const LINGER: Duration = Duration::from_millis(250);

impl Keeper {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        events: EventQueue,
        monitor: Arc<StoreMonitor>,
        process: ForkGeneration,
    ) -> Self {
        Self {
            shared: Arc::new(KeeperShared {
                store,
                clock,
                events,
                monitor,
                process,
                table: Mutex::new(Table::default()),
                nudge: Notify::new(),
                finished: Condvar::new(),
            }),
        }
    }

    /// Makes sure that the keeper runs. Called before a request is sent, since only the keeper ends
    /// a grant whose caller was dropped.
    pub(crate) fn ready(&self, name: &Name) -> Result<(), Error> {
        self.ensure_running().map_err(|e| {
            let store = self.shared.store.to_string();
            Error::of_store(name.as_str(), &store, Failure::of_thread(&e))
        })
    }

    /// Establishes the keeper's own connection for requests for that name within the limit, if the
    /// store has connections.
    ///
    /// Without it, a hold could be neither renewed nor released.
    pub(crate) async fn connect(&self, to: Option<&Name>, limit: Duration) -> Result<(), Failure> {
        if !self.shared.process.is_current() {
            return Err(Failure::before_sending(FailureKind::Forked, ""));
        }
        if !self.shared.store.has_connections() {
            return Ok(());
        }
        self.ensure_running().map_err(|e| Failure::of_thread(&e))?;
        let (connected, result) = oneshot::channel();
        let connect = (to.cloned(), limit, connected);
        self.shared.table().connects.push(connect);
        self.shared.nudge.notify_one();
        match tokio::time::timeout(limit.saturating_add(LATE), result).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(_)) => {
                let detail = "the client was shut down";
                Err(Failure::before_sending(FailureKind::Unreachable, detail))
            }
            Err(_) => {
                let detail = "the keeper has no connection yet";
                Err(Failure::before_sending(FailureKind::Silent, detail))
            }
        }
    }

    /// Renews the hold from now on, and detects its loss.
    pub(crate) fn watch(&self, hold: Arc<HoldState>) -> Result<(), Error> {
        self.ready(&hold.name)?;
        hold.series.record(Measurement::HoldBegan);
        if self.shared.table().add(hold, self.shared.clock.now()) {
            self.shared.nudge.notify_one();
        }
        Ok(())
    }

    /// Renews the hold at once if a caller's renewal of it was sent before the server was replaced.
    pub(crate) fn confirmed(&self, hold: &HoldState) {
        if self.shared.table().confirmed(hold, self.shared.clock.now()) {
            self.shared.nudge.notify_one();
        }
    }

    /// Stops renewing the hold. Reports its end, and its loss if it is lost, if it was still in the
    /// table.
    pub(crate) fn forget(&self, hold: &HoldState) {
        if self.remove(hold) {
            self.shared.report_end(hold);
        }
    }

    /// Stops renewing a hold that the caller never got.
    pub(crate) fn withdraw(&self, hold: &HoldState) {
        if self.remove(hold) {
            hold.series.record(Measurement::HoldWithdrawn);
        }
    }

    fn remove(&self, hold: &HoldState) -> bool {
        self.shared.table().remove(&hold.contender.id)
    }

    /// Loses the hold, unless it is over already. Returns why it is over.
    pub(crate) fn lose(&self, hold: &HoldState, reason: LostReason) -> LostReason {
        let reason = hold.give_up(reason);
        self.forget(hold);
        reason
    }

    /// Returns this client's hold with that owner, if there is one.
    pub(crate) fn find(&self, owner: &str) -> Option<Arc<HoldState>> {
        self.shared.table().find(owner)
    }

    /// Returns this client's shared holds of that name.
    pub(crate) fn sharers(&self, name: &Name) -> Vec<Arc<HoldState>> {
        self.shared.table().sharers(name)
    }

    /// Returns whether there are holds or unfinished pending releases.
    pub(crate) fn is_busy(&self) -> bool {
        let table = self.shared.table();
        table.has_releases() || table.has_holds()
    }

    /// Loses all holds. Returns how many there were.
    pub(crate) fn give_all_up(&self, reason: LostReason) -> usize {
        let all = self.all();
        for hold in &all {
            self.lose(hold, reason);
        }
        all.len()
    }

    /// Returns how many releases the store has not confirmed.
    pub(crate) fn unconfirmed_releases(&self) -> usize {
        self.shared.table().unconfirmed_releases()
    }

    /// Returns the numbers of holds, of unconfirmed releases and of late renewals.
    pub(crate) fn load(&self) -> (usize, usize, usize) {
        let table = self.shared.table();
        let late = table.late_renewals(self.shared.clock.now());
        (table.len(), table.unconfirmed_releases(), late)
    }

    /// Returns all holds of this client.
    pub(crate) fn all(&self) -> Vec<Arc<HoldState>> {
        self.shared.table().all()
    }

    /// Posts a pending release, which is sent in the background. Never blocks, never panics.
    pub(crate) fn post(&self, release: PendingRelease) {
        if let Some(reply) = self.shared.store.end_at_once(&release) {
            self.shared.report_released(&release, reply);
            return;
        }
        self.shared.table().post(release);
        // Without a keeper the lease ends it.
        if self.ensure_running().is_ok() {
            self.shared.nudge.notify_one();
        }
    }

    /// Starts the keeper's task unless it runs.
    ///
    /// With the runtime's clock it runs on the caller's runtime, unless the caller blocks that.
    /// Otherwise it runs on a thread of its own.
    fn ensure_running(&self) -> std::io::Result<()> {
        if !self.shared.table().start() {
            return Ok(());
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if self.shared.clock.is_runtime() && !is_blocking() => {
                let running = task::Running {
                    shared: self.shared.clone(),
                    is_guest: true,
                };
                runtime.spawn(self.shared.unless_forked(task::keep(running)));
                Ok(())
            }
            _ => on_a_thread(self.shared.clone()),
        }
    }
}

/// Runs the keeper's task on a thread of its own.
///
/// The thread is started before the runtime is made: if it cannot be started, there would be a
/// runtime to drop within the caller's, which panics.
fn on_a_thread(shared: Arc<KeeperShared>) -> std::io::Result<()> {
    let running = task::Running {
        shared,
        is_guest: false,
    };
    let (give, given) = std::sync::mpsc::channel::<tokio::runtime::Runtime>();
    std::thread::Builder::new()
        .name("arbiter-keeper".into())
        .spawn(move || {
            if let Ok(runtime) = given.recv() {
                let shared = running.shared.clone();
                let kept = runtime.block_on(shared.unless_forked(task::keep(running)));
                if kept.is_err() {
                    // This thread has forked, so the runtime is the parent's.
                    std::mem::forget(runtime);
                }
            }
        })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    give.send(runtime)
        .map_err(|_| std::io::Error::other("the keeper's thread has ended"))
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let begun = Instant::now();
        self.close();
        self.shared
            .events
            .flush(LINGER.saturating_sub(begun.elapsed()));
    }
}

impl Keeper {
    fn close(&self) {
        let mut table = self.shared.table();
        table.close();
        self.shared.nudge.notify_one();
        if self.shared.clock.is_runtime() {
            return;
        }
        let wait = self
            .shared
            .finished
            .wait_timeout_while(table, LINGER, |table| table.has_releases());
        let (table, _) = wait.unwrap_or_else(PoisonError::into_inner);
        if !table.has_releases() {
            drop(table);
            self.shared.store.leave();
        }
    }
}

impl KeeperShared {
    /// Wraps a task of the keeper, so that a forked process neither polls nor drops it.
    fn unless_forked<F: Future>(&self, task: F) -> UnlessForked<F> {
        UnlessForked::of(&self.process, task)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
