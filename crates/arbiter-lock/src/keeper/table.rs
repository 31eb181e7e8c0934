//! What the keeper has to do, and when: pure bookkeeping under one mutex.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Name, Next};

use crate::hold::HoldState;
use crate::store::Order;

/// How many holds one call renews at the most.
pub(super) const BATCH: usize = 64;

#[derive(Default)]
pub(super) struct Table {
    holds: HashMap<u64, Entry>,
    by_owner: HashMap<Arc<str>, u64>,
    /// When to look at which hold.
    due: BTreeSet<(Duration, u64)>,
    /// Whose renewal is due, by what is left of its life.
    ready: BTreeSet<(Duration, u64)>,
    orders: Vec<Order>,
    /// Orders that have been taken and are not finished.
    unfinished: usize,
    /// When the task wakes up next by itself.
    planned: Duration,
    next_number: u64,
    is_running: bool,
    is_closed: bool,
}

struct Entry {
    hold: Arc<HoldState>,
    due: Duration,
    /// Its key among those whose renewal is due.
    ready: Option<Duration>,
}

/// What the task has to do now.
pub(super) struct Plan {
    /// Holds to renew in one call.
    pub(super) batch: Vec<Arc<HoldState>>,
    /// Holds that were found lost.
    pub(super) lost: Vec<Arc<HoldState>>,
    pub(super) orders: Vec<Order>,
    /// When there is something to do again.
    pub(super) wake: Option<Duration>,
    /// Nothing is left to do, nor will be.
    pub(super) is_over: bool,
}

impl Table {
    /// Adds a hold; answers whether the task has to wake up earlier for it.
    pub(super) fn add(&mut self, hold: Arc<HoldState>, now: Duration) -> bool {
        let number = self.next_number;
        self.next_number += 1;
        self.by_owner.insert(hold.request.id.clone(), number);
        let due = due_of(&hold, now);
        self.due.insert((due, number));
        self.holds.insert(
            number,
            Entry {
                hold,
                due,
                ready: None,
            },
        );
        due < self.planned
    }

    /// Takes a hold out; answers whether it was there.
    pub(super) fn remove(&mut self, owner: &str) -> bool {
        let number = self.by_owner.remove(owner);
        let Some((number, entry)) = number.and_then(|n| self.holds.remove_entry(&n)) else {
            return false;
        };
        self.due.remove(&(entry.due, number));
        if let Some(ready) = entry.ready {
            self.ready.remove(&(ready, number));
        }
        true
    }

    pub(super) fn find(&self, owner: &str) -> Option<Arc<HoldState>> {
        let number = self.by_owner.get(owner)?;
        self.holds.get(number).map(|entry| entry.hold.clone())
    }

    pub(super) fn sharers(&self, name: &Name) -> Vec<Arc<HoldState>> {
        let holds = self.holds.values().map(|entry| &entry.hold);
        let sharers = holds.filter(|hold| hold.name == *name && hold.is_shared());
        sharers.cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<HoldState>> {
        self.holds
            .values()
            .map(|entry| entry.hold.clone())
            .collect()
    }

    pub(super) fn post(&mut self, order: Order) {
        self.orders.push(order);
    }

    pub(super) fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    pub(super) fn has_orders(&self) -> bool {
        !self.orders.is_empty() || 0 < self.unfinished
    }

    /// An order that was taken is finished, or is left to whoever runs next.
    pub(super) fn finished(&mut self, left: Option<Order>) {
        self.unfinished -= 1;
        self.orders.extend(left);
    }

    /// Notes that a task runs; answers whether none did, so that the caller starts it.
    pub(super) fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.is_running, true)
    }

    /// The task is gone; answers whether it leaves something to do.
    pub(super) fn stopped(&mut self) -> bool {
        self.is_running = false;
        self.planned = Duration::ZERO;
        self.has_holds() || self.has_orders()
    }

    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }

    /// What is to be done now. `can_renew`: no renewal is in flight.
    pub(super) fn plan(&mut self, now: Duration, can_renew: bool) -> Plan {
        let lost = self.sort_due(now);
        let batch = if can_renew {
            self.take_batch()
        } else {
            Vec::new()
        };
        let orders = std::mem::take(&mut self.orders);
        self.unfinished += orders.len();
        let wake = self.due.first().map(|(due, _)| *due);
        self.planned = wake.unwrap_or(Duration::MAX);
        let is_over = self.is_closed && self.holds.is_empty() && !self.has_orders();
        Plan {
            batch,
            lost,
            orders,
            wake,
            is_over,
        }
    }

    /// Makes ready what is due for renewal, and takes out what is lost.
    fn sort_due(&mut self, now: Duration) -> Vec<Arc<HoldState>> {
        let mut lost = Vec::new();
        while let Some((due, number)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, number));
            let Some(entry) = self.holds.get_mut(&number) else {
                continue;
            };
            match entry.hold.next(now) {
                Next::Lost => {
                    let hold = entry.hold.clone();
                    lost.push(hold.clone());
                    self.remove(&hold.request.id);
                    continue;
                }
                Next::Renew => {
                    entry.due = entry
                        .hold
                        .end_of_belief()
                        .max(now + Duration::from_millis(1));
                    entry.ready = Some(entry.due);
                    self.ready.insert((entry.due, number));
                }
                Next::Sleep { until } => entry.due = until,
            }
            self.due.insert((entry.due, number));
        }
        lost
    }

    /// The holds to renew next: those with the least remaining life.
    fn take_batch(&mut self) -> Vec<Arc<HoldState>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some((_, number)) = self.ready.pop_first() else {
                break;
            };
            if let Some(entry) = self.holds.get_mut(&number) {
                entry.ready = None;
                batch.push(entry.hold.clone());
            }
        }
        batch
    }

    /// Looks at the hold anew, after a renewal of it.
    pub(super) fn reschedule(&mut self, hold: &HoldState, now: Duration) {
        let Some(&number) = self.by_owner.get(&hold.request.id) else {
            return;
        };
        let Some(entry) = self.holds.get_mut(&number) else {
            return;
        };
        self.due.remove(&(entry.due, number));
        entry.due = due_of(hold, now);
        self.due.insert((entry.due, number));
    }
}

fn due_of(hold: &HoldState, now: Duration) -> Duration {
    match hold.next(now) {
        Next::Sleep { until } => until,
        Next::Renew | Next::Lost => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Guard};

    /// Holds of a lease of that many seconds, made now, which their own keeper forgets.
    async fn holds(client: &Client, seconds: u64, count: usize) -> Vec<Guard> {
        let mut guards = Vec::new();
        for n in 0..count {
            let lock = client.lock(&format!("{seconds} {n}"));
            let lock = lock.lease_time(Duration::from_secs(seconds));
            guards.push(lock.acquire().await.unwrap());
            client.inner.keeper.forget(&guards[n].hold().state);
        }
        guards
    }

    fn add(table: &mut Table, guard: &Guard) -> bool {
        let hold = guard.hold().state.clone();
        table.add(hold, guard.inner().clock.now())
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_hold_that_is_due_before_all_others_wakes_the_keeper_up() {
        let client = Client::in_memory();
        let mut table = Table::default();
        let guards = holds(&client, 30, 2).await;
        let plan = table.plan(client.inner.clock.now(), true);
        assert!(
            add(&mut table, &guards[0]),
            "nothing was due ({:?})",
            plan.wake
        );
        let plan = table.plan(client.inner.clock.now(), true);
        assert!(!add(&mut table, &guards[1]), "due at {:?}", plan.wake);
        assert!(add(&mut table, &holds(&client, 3, 1).await[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_renews_a_batch_and_those_with_the_least_life_first() {
        let client = Client::in_memory();
        let mut table = Table::default();
        let long = holds(&client, 30, BATCH).await;
        tokio::time::advance(Duration::from_secs(9)).await;
        let short = holds(&client, 3, 2).await;
        for guard in long.iter().chain(&short) {
            add(&mut table, guard);
        }
        tokio::time::advance(Duration::from_millis(1_500)).await;
        let now = client.inner.clock.now();
        assert!(table.plan(now, false).batch.is_empty());
        let batch = table.plan(now, true).batch;
        assert_eq!(batch.len(), BATCH);
        assert_eq!(&batch[1].name.as_str()[..2], "3 ");
        assert_eq!(table.plan(now, true).batch.len(), 2);
        assert!(table.plan(now, true).batch.is_empty());
    }

    fn order(guard: &Guard) -> Order {
        let hold = &guard.hold().state;
        Order {
            name: hold.name.clone(),
            request: hold.request.clone(),
            tombstone: false,
            held: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_is_over_once_the_client_is_gone_and_nothing_is_held_or_open() {
        let client = Client::in_memory();
        let guard = holds(&client, 30, 1).await.remove(0);
        let mut table = Table::default();
        let is_over = |table: &mut Table| table.plan(Duration::ZERO, true).is_over;
        assert!(!is_over(&mut table), "the client is there");
        add(&mut table, &guard);
        table.post(order(&guard));
        table.close();
        assert!(!is_over(&mut table), "held and open");
        table.remove(guard.owner());
        assert!(!is_over(&mut table), "open");
        table.finished(None);
        assert!(is_over(&mut table));
        add(&mut table, &guard);
        assert!(!is_over(&mut table), "held");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_is_open_from_its_posting_until_it_is_finished() {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        let mut table = Table::default();
        assert!(!table.has_orders());
        table.post(order(&guard));
        assert!(table.has_orders(), "posted");
        let order = table.plan(Duration::ZERO, true).orders.pop();
        assert!(table.has_orders(), "taken");
        table.finished(order);
        assert!(table.has_orders(), "left to the next");
        assert_eq!(table.plan(Duration::ZERO, true).orders.len(), 1);
        table.finished(None);
        assert!(!table.has_orders(), "finished");
    }
}
