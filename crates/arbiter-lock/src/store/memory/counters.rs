//! Counts the rare events of a memory store on a bad network. A test uses it to check that it has
//! reached them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arbiter_lock_core::{Acquired, Ended, Name, Renewed, Reply, Request, Status, Tried};

#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: BTreeMap<&'static str, u64>,
    /// The fence of each request's last grant.
    granted: HashMap<Arc<str>, u64>,
    /// The request that was granted last and has not been ended.
    open: HashMap<Name, Arc<str>>,
    ended: HashSet<Arc<str>>,
}

impl Counters {
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    fn count(&mut self, event: &'static str) {
        *self.counts.entry(event).or_default() += 1;
    }

    pub(super) fn lost(&mut self) {
        self.count("a lost message");
    }

    pub(super) fn doubled(&mut self) {
        self.count("a request that arrives twice");
    }

    pub(super) fn undelivered(&mut self) {
        self.count("a reply to a caller that has gone");
    }

    /// Counts a request with its reply.
    pub(super) fn answered(&mut self, name: &Name, request: &Request, reply: &Reply) {
        match (request, reply) {
            (
                Request::Acquire { contender, .. },
                Reply::Acquired(Acquired::Granted { fence, .. }),
            )
            | (Request::TryAcquire(contender), Reply::Tried(Tried::Granted { fence, .. })) => {
                self.granted(name, &contender.id, *fence);
            }
            (_, Reply::Acquired(Acquired::Ended)) => self.count("a tombstone"),
            (_, Reply::Renewed(renewed)) => self.renewed(*renewed),
            (Request::End { contender, .. }, Reply::Ended(ended)) => {
                self.ended(name, &contender.id, *ended);
            }
            _ => {}
        }
    }

    fn granted(&mut self, name: &Name, request: &Arc<str>, fence: u64) {
        if self.ended.contains(request) {
            self.count("a grant of an ended request");
        }
        match self.granted.insert(request.clone(), fence) {
            None => {}
            Some(before) if before == fence => self.count("a poll that finds its own grant"),
            Some(_) => self.count("a request granted again"),
        }
        let open = self.open.insert(name.clone(), request.clone());
        if open.is_some_and(|open| open != *request) {
            self.count("a grant after an expired hold");
        }
    }

    pub(super) fn pushed(&mut self, name: &Name, request: &Arc<str>, fence: u64) {
        self.granted(name, request, fence);
        self.count("a pushed grant");
    }

    pub(super) fn renewed(&mut self, renewed: Renewed) {
        if let Renewed::NotYours { .. } = renewed {
            self.count("a renewal of an ended hold");
        }
    }

    fn ended(&mut self, name: &Name, request: &Arc<str>, ended: Ended) {
        self.ended.insert(request.clone());
        match ended {
            Ended::Released => {
                self.open.remove(name);
            }
            Ended::Left => self.count("an end of a waiting request"),
            Ended::NotYours { .. } if self.granted.contains_key(request) => {
                self.count("an end of an ended hold");
            }
            Ended::NotYours { .. } => {}
        }
    }

    /// Counts a step from one state to another.
    pub(super) fn stepped(&mut self, before: &Status, after: &Status) {
        let fence = |status: &Status| status.holder.as_ref().and_then(|holder| holder.fence);
        let (Some(_), true) = (fence(after), fence(before) != fence(after)) else {
            return;
        };
        let is_gone = |ticket: u64| after.waiters.iter().all(|waiter| waiter.ticket != ticket);
        let gone = before
            .waiters
            .iter()
            .filter(|waiter| is_gone(waiter.ticket));
        // One is granted; the others have been skipped.
        if 1 < gone.count() {
            self.count("a grant past a stopped head");
        }
    }
}
