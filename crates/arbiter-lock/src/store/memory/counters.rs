//! What a memory store on a bad network has met, counted: so that a test knows that it has been
//! to the rare places.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arbiter_lock_core::{Acquired, Ended, Name, Renewed, Reply, Request, Status, Tried};

#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: BTreeMap<&'static str, u64>,
    /// The fence under which a request was granted last.
    granted: HashMap<Arc<str>, u64>,
    /// Who was granted last, and has not ended it.
    open: HashMap<Name, Arc<str>>,
    ended: HashSet<Arc<str>>,
}

impl Counters {
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    fn met(&mut self, sight: &'static str) {
        *self.counts.entry(sight).or_default() += 1;
    }

    pub(super) fn lost(&mut self) {
        self.met("a message that never arrives");
    }

    pub(super) fn doubled(&mut self) {
        self.met("a question that arrives twice");
    }

    pub(super) fn unheard(&mut self) {
        self.met("an answer to one who has gone");
    }

    /// A request was answered.
    pub(super) fn answered(&mut self, name: &Name, request: &Request, reply: &Reply) {
        match (request, reply) {
            (
                Request::Acquire { contender, .. },
                Reply::Acquired(Acquired::Granted { fence, .. }),
            )
            | (Request::TryAcquire(contender), Reply::Tried(Tried::Granted { fence, .. })) => {
                self.granted(name, &contender.id, *fence);
            }
            (_, Reply::Acquired(Acquired::Ended)) => self.met("a tombstone"),
            (_, Reply::Renewed(renewed)) => self.renewed(*renewed),
            (Request::End { contender, .. }, Reply::Ended(ended)) => {
                self.ended(name, &contender.id, *ended);
            }
            _ => {}
        }
    }

    fn granted(&mut self, name: &Name, request: &Arc<str>, fence: u64) {
        if self.ended.contains(request) {
            self.met("a grant of what was ended");
        }
        match self.granted.insert(request.clone(), fence) {
            None => {}
            Some(before) if before == fence => self.met("a look that finds its own grant"),
            Some(_) => self.met("a request granted anew"),
        }
        let open = self.open.insert(name.clone(), request.clone());
        if open.is_some_and(|open| open != *request) {
            self.met("a grant after a hold that lapsed");
        }
    }

    pub(super) fn pushed(&mut self, name: &Name, request: &Arc<str>, fence: u64) {
        self.granted(name, request, fence);
        self.met("a grant by a message");
    }

    pub(super) fn renewed(&mut self, renewed: Renewed) {
        if let Renewed::NotYours { .. } = renewed {
            self.met("a renewal of what is over");
        }
    }

    fn ended(&mut self, name: &Name, request: &Arc<str>, ended: Ended) {
        self.ended.insert(request.clone());
        match ended {
            Ended::Released => {
                self.open.remove(name);
            }
            Ended::Left => self.met("an end of one who waits"),
            Ended::NotYours if self.granted.contains_key(request) => {
                self.met("an end of what is over");
            }
            Ended::NotYours => {}
        }
    }

    /// A step has led from one state to another.
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
        // One is granted; the others have been passed over.
        if 1 < gone.count() {
            self.met("a grant past a head that has stopped");
        }
    }
}
