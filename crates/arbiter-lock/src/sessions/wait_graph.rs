//! The detection of deadlocks between the sessions of a client.
//!
//! A session that waits is blocked by the session that holds the name, which may wait itself. If
//! that leads back to the first session, no session of the cycle can continue. Only certain facts
//! count: valid holds of this client, and waits that the store has just confirmed. So the search
//! ends at a name that another client holds, and at a wait without a session.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arbiter_lock_core::{Mode, Name, SHARED_OWNER};

use crate::keeper::Keeper;
use crate::sessions::session_id::SessionId;
use crate::system::process::ForkGeneration;

/// How long a wait counts after the store has confirmed it: from one poll to the reply of the next.
/// A future that is not polled does not wait.
const FRESH: Duration = Duration::from_millis(2_500);

/// The waits of a client's sessions.
#[derive(Clone, Default)]
pub(crate) struct WaitGraph(Arc<Mutex<Waits>>);

/// The waits of each session by number. A later wait has a greater number.
#[derive(Default)]
struct Waits {
    by_session: HashMap<SessionId, BTreeMap<u64, Wait>>,
    next_number: u64,
}

/// A wait of a request, as the store has replied.
pub(crate) struct Wait {
    pub(crate) name: Name,
    pub(crate) mode: Mode,
    pub(crate) ticket: u64,
    /// The owner of the hold that it waits for.
    pub(crate) owner: Arc<str>,
    pub(crate) confirmed: Duration,
}

/// A waiting request of a session. Its drop removes it from the graph.
pub(crate) struct WaitingSession {
    process: ForkGeneration,
    graph: WaitGraph,
    session: SessionId,
    number: u64,
}

/// A step of a cycle: a wait of a session, and the hold that blocks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CircleStep {
    wait: u64,
    pub(crate) name: Name,
    owner: Arc<str>,
}

/// A wait that the search has reached.
struct Reached {
    session: SessionId,
    wait: u64,
    /// The index of the wait before, and the owner of the hold that blocks that.
    from: Option<(usize, Arc<str>)>,
}

impl WaitGraph {
    /// Adds a request of that session.
    pub(crate) fn enter(&self, session: SessionId) -> WaitingSession {
        let mut waits = self.waits();
        let number = waits.next_number;
        waits.next_number += 1;
        WaitingSession {
            process: ForkGeneration::current(),
            graph: self.clone(),
            session,
            number,
        }
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaitingSession {
    /// Records the wait of the request.
    pub(crate) fn confirm(&self, wait: Wait) {
        let mut waits = self.graph.waits();
        let of_session = waits.by_session.entry(self.session).or_default();
        of_session.insert(self.number, wait);
    }

    /// Records that the request waits for no known hold.
    pub(crate) fn clear(&self) {
        let mut waits = self.graph.waits();
        if let Some(of_session) = waits.by_session.get_mut(&self.session) {
            of_session.remove(&self.number);
            if of_session.is_empty() {
                waits.by_session.remove(&self.session);
            }
        }
    }

    /// Returns the cycle in which the session waits for itself, starting with this request.
    ///
    /// Only the session that began to wait last finds the cycle, so only that one fails.
    pub(crate) fn circle(&self, keeper: &Keeper, now: Duration) -> Option<Vec<CircleStep>> {
        let waits = self.graph.waits();
        let began = waits.began(self.session)?;
        let mut known = HashSet::from([self.session]);
        let mut reached = vec![Reached {
            session: self.session,
            wait: self.number,
            from: None,
        }];
        let mut at = 0;
        while let Some(Reached { session, wait, .. }) = reached.get(at) {
            for (session, owner) in waits.blockers(*session, *wait, keeper, now) {
                if session == self.session {
                    return waits.steps(&reached, at, owner);
                }
                let is_earlier = waits.began(session).is_some_and(|other| other < began);
                if is_earlier && known.insert(session) {
                    let numbers = waits.by_session[&session].keys();
                    reached.extend(numbers.map(|wait| Reached {
                        session,
                        wait: *wait,
                        from: Some((at, owner.clone())),
                    }));
                }
            }
            at += 1;
        }
        None
    }
}

impl Drop for WaitingSession {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.clear();
        }
    }
}

impl Waits {
    fn get(&self, session: SessionId, wait: u64) -> Option<&Wait> {
        self.by_session.get(&session)?.get(&wait)
    }

    /// Returns the number of the session's first wait.
    fn began(&self, session: SessionId) -> Option<u64> {
        let of_session = self.by_session.get(&session)?;
        of_session.keys().next().copied()
    }

    /// Returns the sessions whose holds block that wait, and the owners of the holds.
    fn blockers(
        &self,
        session: SessionId,
        wait: u64,
        keeper: &Keeper,
        now: Duration,
    ) -> Vec<(SessionId, Arc<str>)> {
        let wait = self.get(session, wait).filter(|wait| wait.is_fresh(now));
        let Some(wait) = wait else {
            return Vec::new();
        };
        let holds = if *wait.owner != *SHARED_OWNER {
            Vec::from_iter(keeper.find(&wait.owner))
        } else if wait.mode == Mode::Exclusive || self.is_behind_a_writer(wait, now) {
            keeper.sharers(&wait.name)
        } else {
            Vec::new()
        };
        let in_force = holds.iter().filter(|hold| !hold.is_over());
        let mut blockers: Vec<_> = in_force
            .filter_map(|hold| Some((hold.session?, hold.contender.id.clone())))
            .collect();
        blockers.sort();
        blockers
    }

    /// Returns whether an exclusive request of this client waits before it. Then shared holds block
    /// a shared request, too.
    fn is_behind_a_writer(&self, wait: &Wait, now: Duration) -> bool {
        let mut all = self.by_session.values().flat_map(BTreeMap::values);
        all.any(|other| {
            other.name == wait.name
                && other.mode == Mode::Exclusive
                && other.ticket < wait.ticket
                && other.is_fresh(now)
        })
    }

    /// Returns the cycle that ends with the wait at `last`, which a hold of that owner blocks.
    fn steps(&self, reached: &[Reached], last: usize, owner: Arc<str>) -> Option<Vec<CircleStep>> {
        let mut steps = Vec::new();
        let mut next = Some((last, owner));
        while let Some((at, owner)) = next {
            let Reached {
                session,
                wait,
                from,
            } = &reached[at];
            steps.push(CircleStep {
                wait: *wait,
                name: self.get(*session, *wait)?.name.clone(),
                owner,
            });
            next = from.clone();
        }
        steps.reverse();
        Some(steps)
    }
}

impl Wait {
    fn is_fresh(&self, now: Duration) -> bool {
        now.saturating_sub(self.confirmed) <= FRESH
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Guard};

    /// Enters a request of the session that has `own`, which `other` blocks.
    fn waiter(client: &Client, own: &Guard, other: &Guard) -> WaitingSession {
        let (own, other) = (&own.hold().state, &other.hold().state);
        let waiter = client.inner.waits.enter(own.session.unwrap());
        waiter.confirm(Wait {
            name: other.name.clone(),
            mode: Mode::Exclusive,
            ticket: 1,
            owner: other.contender.id.clone(),
            confirmed: client.inner.clock.now(),
        });
        waiter
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_waiter_finds_the_cycle() {
        let client = Client::in_memory();
        let (a, b) = (client.session(), client.session());
        let x = a.lock("x").acquire().await.unwrap();
        let y = b.lock("y").acquire().await.unwrap();
        let first = waiter(&client, &x, &y);
        let inner = client.inner.clone();
        let circle = |waiter: &WaitingSession| waiter.circle(&inner.keeper, inner.clock.now());
        assert_eq!(circle(&first), None);
        let last = waiter(&client, &y, &x);
        assert_eq!(circle(&first), None);
        let names: Vec<_> = circle(&last).unwrap().into_iter().map(|s| s.name).collect();
        assert_eq!(names, [&x, &y].map(|guard| guard.hold().state.name.clone()));
        // Another request of the first session does not make it the last.
        let another = waiter(&client, &x, &y);
        assert!(circle(&another).is_none() && circle(&last).is_some());
        x.release().await.unwrap();
        assert_eq!(circle(&last), None);
        drop((first, last, another));
        assert!(inner.waits.waits().by_session.is_empty());
        y.release().await.unwrap();
    }
}
