//! A batch: the requests that share two round trips.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use arbiter_lock_core::{
    Acquired, Answer, Contender, Grant, Moment, Reply, Request, Resource, Rows as _, Tried,
};
use serde_json::json;
use tokio::time::Instant;

use super::database::Postgres;
use super::known::{KnownState, KnownStates};
use super::queued_request::{Again, QueuedRequest};
use super::rows::{Loaded, SnapshotRows};
use super::wire;
use crate::label::Label;
use crate::store::{Envelope, Failure, FailureKind, Source};
use crate::system::rng;

/// The most names of a batch.
const NAMES: usize = 64;
/// The most requests of a batch.
const REQUESTS: usize = 256;

/// Every that many repetitions, the name is locked between the trips.
const OVERTAKEN: u32 = 4;

/// How many of the first waiters a step may grant or skip, and look at.
const HEADS: usize = arbiter_lock_core::MAX_STEPS + 1;

/// Requests for several names, in the order of the names.
pub(super) struct Exchange {
    groups: BTreeMap<Arc<str>, Group>,
}

/// The requests for a name.
#[derive(Default)]
struct Group {
    requests: Vec<QueuedRequest>,
    /// None before the rows were read.
    applied: Option<Applied>,
}

/// The effects of the requests for a name.
struct Applied {
    at: Moment,
    expected: Option<i64>,
    /// The revision of the written rows.
    revision: i64,
    rows: SnapshotRows,
    answers: Vec<Answer<Reply>>,
    needs_writing: bool,
}

impl Exchange {
    /// Takes requests from the front of a queue.
    pub(super) fn take(queue: &mut VecDeque<QueuedRequest>) -> Self {
        let mut groups: BTreeMap<_, Group> = BTreeMap::new();
        let mut count = 0;
        while let Some(queued) = queue.front() {
            let is_full = groups.len() == NAMES && !groups.contains_key(&queued.key);
            if is_full || count == REQUESTS {
                break;
            }
            let Some(queued) = queue.pop_front() else {
                break;
            };
            // Its caller has gone, or waits no longer.
            if queued.reply.is_closed() || !queued.stage.send() {
                continue;
            }
            groups
                .entry(queued.key.clone())
                .or_default()
                .requests
                .push(queued);
            count += 1;
        }
        Self { groups }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Applies releases of names whose state is known.
    pub(super) fn release_known(&mut self, store: &Postgres, known: &mut KnownStates) {
        for (key, group) in &mut self.groups {
            let is_release = |queued: &QueuedRequest| {
                matches!(queued.request, Request::End { .. })
                    && !queued.needs_all
                    && !queued.is_guarded
            };
            // It is out of date then, in any case.
            let state = known.take(key);
            if let Some(state) = state.filter(|_| group.requests.iter().all(is_release)) {
                let (at, loaded) = (state.at, state.into_loaded());
                let applied = group.apply_to(store, at, loaded, true);
                // Only the swap finds out whether the state is out of date.
                group.applied = Some(applied).filter(|applied| applied.needs_writing);
            }
        }
    }

    /// Returns the states of names that were written and have no other rows.
    pub(super) fn whole_states(&self, written: &[String]) -> Vec<(Arc<str>, KnownState)> {
        let since = Instant::now();
        let state = |key: &String| {
            let (key, group) = self.groups.get_key_value(key.as_str())?;
            let applied = group.applied.as_ref()?;
            let root = applied.rows.root();
            KnownState::is_whole(root).then(|| {
                let state = KnownState {
                    at: applied.at,
                    root: root.clone(),
                    revision: applied.revision,
                    since,
                };
                (key.clone(), state)
            })
        };
        written.iter().filter_map(state).collect()
    }

    /// Returns whether everything is known.
    pub(super) fn needs_no_reading(&self) -> bool {
        self.groups.values().all(|group| group.applied.is_some())
    }

    /// Returns the names to read whose requests others have overtaken several times.
    pub(super) fn overtaken(&self) -> Vec<&str> {
        let is_overtaken = |queued: &QueuedRequest| queued.repeats % OVERTAKEN == OVERTAKEN - 1;
        let groups = self.groups.iter();
        let unread = groups.filter(|(_, group)| group.applied.is_none());
        let groups = unread.filter(|(_, group)| group.requests.iter().any(is_overtaken));
        groups.map(|(key, _)| &**key).collect()
    }

    /// Returns what to read.
    pub(super) fn to_load(&self, own_channel: &str) -> String {
        let unread = self
            .groups
            .iter()
            .filter(|(_, group)| group.applied.is_none());
        let items = unread.map(|(key, group)| {
            let requests = &group.requests;
            let ids: Vec<_> = requests.iter().filter_map(QueuedRequest::id).collect();
            let ids: Vec<_> = ids.iter().map(|id| wire::escaped(id)).collect();
            let fences: Vec<_> = requests.iter().filter_map(QueuedRequest::fence).collect();
            let inspects = requests
                .iter()
                .any(|queued| queued.request == Request::Inspect);
            let heads = if inspects {
                arbiter_lock_core::Status::MOST_WAITERS
            } else {
                HEADS
            };
            let needs_all = requests.iter().any(|queued| queued.needs_all);
            let wants_run = requests.iter().any(QueuedRequest::wants_run);
            json!([
                &**key,
                ids,
                fences,
                own_channel,
                heads,
                needs_all,
                wants_run
            ])
        });
        serde_json::Value::Array(items.collect()).to_string()
    }

    /// Applies the requests to the rows that were read. Returns what to write, and whether that has
    /// to be durable.
    pub(super) fn apply(
        &mut self,
        store: &Postgres,
        states: &[String],
        is_listening: bool,
    ) -> Result<(wire::Changeset, bool), Failure> {
        let (mut batch, mut is_durable) = (wire::Changeset::default(), false);
        let mut unread: Vec<_> = self.groups.values_mut().collect();
        unread.retain(|group| group.applied.is_none());
        if states.len() != unread.len() {
            let detail = "a state for each name is expected";
            return Err(Failure::before_sending(FailureKind::Malformed, detail));
        }
        for (group, state) in unread.into_iter().zip(states) {
            group.applied = Some(group.apply(store, state, is_listening)?);
        }
        for (key, group) in &self.groups {
            let Some(applied) = &group.applied else {
                continue;
            };
            if applied.needs_writing {
                batch.change(key, &applied.rows, applied.expected, applied.revision);
                for grant in applied.granted() {
                    if !store.listeners.has(&grant.channel) && is_notified(&grant.channel) {
                        batch.notify(key, grant);
                    }
                }
                is_durable |= applied.is_durable();
            }
        }
        Ok((batch, is_durable))
    }

    /// Answers the requests for the names that were written, or needed no writing. Delivers grants
    /// of this client. Returns the others.
    pub(super) fn finish(
        self,
        store: &Postgres,
        source: Source,
        written: &[String],
        guarded: &[String],
    ) -> Vec<(Again, QueuedRequest)> {
        let written: HashSet<&str> = written.iter().map(String::as_str).collect();
        let guarded: HashSet<&str> = guarded.iter().map(String::as_str).collect();
        let mut again = Vec::new();
        for (key, group) in self.groups {
            let Group { requests, applied } = group;
            let Some(applied) = applied else { continue };
            let needs_writing = applied.needs_writing;
            let why = if applied.rows.is_incomplete() {
                Some(Again::All)
            } else if !needs_writing || written.contains(&*key) {
                None
            } else if guarded.contains(&*key) {
                Some(Again::Guarded)
            } else {
                Some(Again::Changed)
            };
            if let Some(why) = why {
                again.extend(requests.into_iter().map(|queued| (why, queued)));
                continue;
            }
            if needs_writing {
                for grant in applied.granted() {
                    let channel = grant.channel.clone();
                    let push = grant.clone().into();
                    store.listeners.deliver(&channel, source, push);
                }
            }
            for (queued, answer) in requests.into_iter().zip(applied.answers) {
                let mut reply = answer.reply;
                if let Some(guards) = &queued.guards {
                    note_guards(&mut reply, guards);
                }
                let envelope = Envelope::new(reply, applied.at, answer.again);
                queued.answer(Ok(Envelope { source, ..envelope }));
            }
        }
        again
    }

    /// Returns the names whose holds are shown.
    pub(super) fn inspected(&self) -> Vec<String> {
        let inspects = |group: &Group| {
            group
                .requests
                .iter()
                .any(|queued| queued.request == Request::Inspect)
        };
        let groups = self.groups.iter().filter(|(_, group)| inspects(group));
        groups.map(|(key, _)| (**key).to_owned()).collect()
    }

    /// Notes which transactions guard holds.
    pub(super) fn set_guards(&mut self, guards: &HashMap<String, String>) {
        for (key, guards) in guards {
            let group = self.groups.get_mut(key.as_str());
            for queued in group.into_iter().flat_map(|group| &mut group.requests) {
                queued.guards = Some(guards.as_str().into());
            }
        }
    }

    /// Returns the requests.
    pub(super) fn into_requests(self) -> impl Iterator<Item = QueuedRequest> {
        self.groups.into_values().flat_map(|group| group.requests)
    }
}

impl Group {
    fn apply(&self, store: &Postgres, state: &str, is_listening: bool) -> Result<Applied, Failure> {
        let (at, loaded) = wire::loaded(state)?;
        Ok(self.apply_to(store, at, loaded, is_listening))
    }

    /// Applies the requests to rows, at that time.
    fn apply_to(
        &self,
        store: &Postgres,
        at: Moment,
        mut loaded: Loaded,
        is_listening: bool,
    ) -> Applied {
        if self.requests.iter().any(|queued| queued.is_guarded) {
            loaded.keep_guarded(at);
        }
        let ids: Vec<_> = self
            .requests
            .iter()
            .filter_map(QueuedRequest::id)
            .cloned()
            .collect();
        let fences: Vec<_> = self
            .requests
            .iter()
            .filter_map(QueuedRequest::fence)
            .collect();
        let (expected, unheard) = (loaded.revision, std::mem::take(&mut loaded.unheard));
        let reach = |channel: &str| {
            store.listeners.has(channel) || !is_notified(channel) || !unheard.contains(channel)
        };
        let mut resource = Resource::new(SnapshotRows::new(loaded, &ids, &fences));
        let apply = |queued: &QueuedRequest| match (&queued.request, is_listening) {
            // Its waiter polls.
            (Request::Acquire { contender, ticket }, false) => {
                let request = Request::Acquire {
                    contender: unnotified(contender).into(),
                    ticket: *ticket,
                };
                request.apply(&mut resource, at, reach)
            }
            (request, _) => request.apply(&mut resource, at, reach),
        };
        let answers: Vec<_> = self.requests.iter().map(apply).collect();
        let rows = resource.into_rows();
        // A grant that is found may be one whose commit was not replicated. Writing again waits for
        // that, too.
        let needs_writing = !rows.is_incomplete()
            && (rows.is_changed() || answers.iter().any(grants))
            && !self.requests.iter().all(QueuedRequest::only_reads);
        Applied {
            at,
            expected,
            revision: rng::draw(),
            rows,
            answers,
            needs_writing,
        }
    }
}

impl Applied {
    fn granted(&self) -> impl Iterator<Item = &Grant> {
        self.answers.iter().flat_map(|answer| &answer.granted)
    }

    /// Returns whether a crash must not undo the requests. A place in the queue or a release that is
    /// undone costs time alone.
    fn is_durable(&self) -> bool {
        let is_free = |answer: &Answer<Reply>| match &answer.reply {
            Reply::Acquired(_) | Reply::Tried(_) => !grants(answer),
            Reply::Ended(_) | Reply::Inspected(_) | Reply::LastRun(_) => true,
            _ => false,
        };
        0 < self.granted().count() || !self.answers.iter().all(is_free)
    }
}

/// Returns whether the request itself is granted.
fn grants(answer: &Answer<Reply>) -> bool {
    matches!(
        answer.reply,
        Reply::Acquired(Acquired::Granted { .. }) | Reply::Tried(Tried::Granted { .. })
    )
}

/// Shows with the holder which transactions guard its hold.
fn note_guards(reply: &mut Reply, guards: &str) {
    let holder = match reply {
        Reply::Inspected(status) => &mut status.holder,
        Reply::Acquired(Acquired::Queued { holder, .. })
        | Reply::Tried(Tried::Busy { holder, .. }) => holder,
        _ => return,
    };
    if let Some(holder) = holder {
        let mut label = Label::from_line(&holder.label);
        let note = format!("guarded by a transaction of {guards}");
        label.note = Some(match label.note {
            Some(before) => format!("{before}; {note}"),
            None => note,
        });
        holder.label = label.to_line().into();
    }
}

/// The beginning of the channels that sessions listen on.
const NOTIFIED: &str = "arbiter.wake:";

fn is_notified(channel: &str) -> bool {
    channel.starts_with(NOTIFIED)
}

/// Returns the contender of a client that cannot listen.
fn unnotified(contender: &Contender) -> Contender {
    Contender {
        channel: contender.channel.replacen("wake", "poll", 1).into(),
        ..contender.clone()
    }
}
