//! The task that queries the nodes of a cluster for the slot map.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::Value;

use super::super::dial::{Limits, Line, dial};
use super::super::failure::failure_of;
use super::super::introduction::{before_use, introduce, text};
use super::super::keys::probe_in;
use super::super::script::probe;
use super::super::target::{Address, Target};
use super::map::SlotMap;
use super::{Cluster, REFRESH_EVERY, REFRESH_IN_DOUBT, SHORTEST_PAUSE, now};
use crate::errors::failure::nothing;
use crate::store::tcp::HEAD_START;
use crate::store::{Failure, FailureKind, KeyPrefix};
use crate::system::rng;

/// The minimum time that a node may take to answer.
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);

/// How many answers that are not current are enough. While many clients of a large cluster are in
/// doubt, no client queries all of its nodes.
const MOST_ANSWERS: usize = 4;

/// The answer of a node: the slot map, and how far to trust it.
pub(super) struct MapReply {
    pub(super) map: SlotMap,
    pub(super) epoch: u64,
    /// Whether the node is in touch with the majority of the cluster, as far as it reports that.
    is_ok: bool,
    /// Whether the node supports the scripts, if that was checked now. Reading needs no right to
    /// write.
    pub(super) checked: Result<(), Failure>,
}

/// A node, and a connection to it that has answered.
struct Kept {
    address: Address,
    line: Line,
}

/// A node to query.
type Candidate = (Address, Result<Target, Failure>);
type Queried = Result<(Kept, MapReply), Failure>;
type Asking = BoxFuture<'static, (Address, Queried)>;

/// The nodes that are queried.
struct Survey {
    limits: Limits,
    client_name: Arc<str>,
    key_prefix: KeyPrefix,
    /// Whether replicas are queried, too.
    counts_replicas: bool,
    /// The node that answered last.
    kept: Option<Kept>,
    /// The nodes that have not answered yet.
    asking: FuturesUnordered<Asking>,
    unanswered: BTreeSet<Address>,
    /// The nodes that did not answer in time when they were last queried. No query waits for them.
    slow: BTreeSet<Address>,
}

/// Queries for the map until the client is dropped.
///
/// It runs on the runtime of a [`Service`](crate::service::Service). A forked process has no such
/// thread, so it cannot poll it.
pub(super) async fn watch(cluster: Weak<Cluster>) {
    let Some(mut survey) = cluster.upgrade().map(|shared| Survey::new(&shared)) else {
        return;
    };
    loop {
        let Some(shared) = cluster.upgrade() else {
            return;
        };
        let mut questions = shared.questions.subscribe();
        let asked = *questions.borrow_and_update();
        let (candidates, epoch) = (shared.candidates(&mut survey.kept), shared.state().epoch);
        survey.counts_replicas = shared.counts_replicas.load(Ordering::Relaxed);
        drop(shared);
        let found = survey.ask_until_current(candidates, epoch).await;
        let Some(shared) = cluster.upgrade() else {
            return;
        };
        match found {
            Ok(reply) => shared.answered(reply),
            Err(failure) => shared.failed(failure),
        }
        shared.answers.send_replace(asked);
        let is_in_doubt = now() < shared.state().in_doubt_until;
        drop(shared);
        tokio::time::sleep(SHORTEST_PAUSE).await;
        let pause = if is_in_doubt {
            REFRESH_IN_DOUBT
        } else {
            REFRESH_EVERY
        };
        if let Ok(Err(_)) = tokio::time::timeout(pause, questions.changed()).await {
            return;
        }
    }
}

impl Cluster {
    /// Returns the nodes to query with their targets, in order. First comes the node of the last
    /// redirection, then the known masters from a random one on, then the hosts of the URL.
    ///
    /// The kept node may not know yet of the move that a redirection has shown, so it is not asked
    /// then.
    fn candidates(&self, kept: &mut Option<Kept>) -> Vec<Candidate> {
        let named = self.state().named.take();
        if let Some(named) = &named {
            kept.take_if(|kept| kept.address != *named);
        }
        let mut announced = Vec::from_iter(self.masters());
        announced.retain(|master| Some(master) != named.as_ref());
        let first = (rng::draw::<f64>() * announced.len() as f64) as usize;
        announced.rotate_left(first);
        announced.splice(0..0, named);
        let listed = self.url.hosts.list.iter();
        let listed = listed.filter(|host| !announced.contains(host));
        let listed = listed.map(|host| (host.clone(), Ok(self.url.node(host))));
        let listed = Vec::from_iter(listed);
        let announced = announced.into_iter().map(|address| {
            let target = self.target(&address);
            (address, target)
        });
        announced.chain(listed).collect()
    }
}

impl Survey {
    fn new(cluster: &Cluster) -> Self {
        Self {
            limits: cluster.settings.limits,
            client_name: cluster.settings.client_name.clone(),
            key_prefix: cluster.settings.key_prefix.clone(),
            counts_replicas: false,
            kept: None,
            asking: FuturesUnordered::new(),
            unanswered: BTreeSet::new(),
            slow: BTreeSet::new(),
        }
    }

    /// Queries one node after the other until an answer is current. A current answer has that epoch
    /// or a later one, and is from a node in touch with the majority. Otherwise the best of several
    /// answers counts. An earlier epoch counts only if half of the nodes report one, since the
    /// cluster may have been replaced. The next node is queried as soon as one has failed, or has
    /// not answered for a moment.
    async fn ask_until_current(
        &mut self,
        mut candidates: Vec<Candidate>,
        epoch: u64,
    ) -> Result<MapReply, Failure> {
        let known = candidates.iter().map(|(address, _)| address);
        let known: BTreeSet<Address> = known.chain(&self.unanswered).cloned().collect();
        self.slow.retain(|address| known.contains(address));
        let enough = MOST_ANSWERS.min(known.len() / 2 + 1);
        candidates.retain(|(address, _)| !self.unanswered.contains(address));
        candidates.sort_by_key(|(address, _)| self.slow.contains(address));
        candidates.reverse();
        if let Some(kept) = self.kept.take() {
            candidates.retain(|(address, _)| *address != kept.address);
            let address = kept.address.clone();
            self.ask(address, ask(kept, self.limits, self.counts_replicas));
        }
        let (mut best, mut failed): (Option<(Kept, MapReply)>, Option<Failure>) = (None, None);
        let mut answers = 0;
        loop {
            let is_last = candidates.is_empty();
            let turn = match best {
                Some(_) if is_last && self.unanswered.is_subset(&self.slow) => break,
                None if is_last => Duration::MAX,
                _ => HEAD_START,
            };
            match tokio::time::timeout(turn, self.next()).await {
                Ok(Some(Ok(found))) => {
                    let is_current = found.1.is_current(epoch);
                    let is_better = |best: &(Kept, MapReply)| best.1.rank() < found.1.rank();
                    if best.as_ref().is_none_or(is_better) {
                        best = Some(found);
                    }
                    if is_current {
                        self.asking.clear();
                        self.slow.append(&mut self.unanswered);
                        break;
                    }
                    answers += 1;
                    if MOST_ANSWERS <= answers {
                        break;
                    }
                }
                // A node that denies access does so permanently.
                Ok(Some(Err(failure))) => {
                    if failed.as_ref().is_none_or(Failure::is_transient) {
                        failed = Some(failure);
                    }
                }
                Ok(None) | Err(_) if is_last => break,
                Ok(None) | Err(_) => {}
            }
            if let Some((address, target)) = candidates.pop() {
                let client = (self.client_name.clone(), self.key_prefix.clone());
                let counts_replicas = self.counts_replicas;
                let (to, limits) = (address.clone(), self.limits);
                let dialing = dial_and_ask(to, target, limits, client, counts_replicas);
                self.ask(address, dialing);
            }
        }
        self.slow.extend(self.unanswered.iter().cloned());
        let none = || Failure::before_sending(FailureKind::Unreachable, "no node is known");
        let (kept, reply) = best.ok_or_else(|| failed.unwrap_or_else(none))?;
        // A single node may be a master that was replaced, and has not noticed yet.
        if reply.epoch < epoch && answers < enough {
            let detail = format!("{answers} of its nodes answered, and they lag");
            return Err(Failure::before_sending(FailureKind::Unreachable, detail));
        }
        self.kept = Some(kept);
        Ok(reply)
    }

    fn ask(&mut self, address: Address, asking: impl Future<Output = Queried> + Send + 'static) {
        self.unanswered.insert(address.clone());
        let asking = async move { (address, asking.await) };
        self.asking.push(Box::pin(asking));
    }

    /// Waits for the next node to answer or to fail; `None` if no node is queried.
    async fn next(&mut self) -> Option<Queried> {
        let (address, asked) = self.asking.next().await?;
        self.unanswered.remove(&address);
        self.slow.remove(&address);
        Some(asked)
    }
}

/// Dials a node, checks that it supports the protocol, and queries it.
async fn dial_and_ask(
    address: Address,
    target: Result<Target, Failure>,
    limits: Limits,
    (name, prefix): (Arc<str>, KeyPrefix),
    counts_replicas: bool,
) -> Result<(Kept, MapReply), Failure> {
    let target = target?;
    let mut line = dial(&target, limits.connect, |_| {}).await?;
    let introduced = introduce(&mut line, &target, &name);
    in_time(limits, introduced).await?;
    let (mut kept, reply) = ask(Kept { address, line }, limits, counts_replicas).await?;
    let slot = reply.map.slot_of(&kept.address).unwrap_or_default();
    let checked = in_time(limits, check_node(&mut kept.line, &prefix, slot)).await;
    Ok((kept, MapReply { checked, ..reply }))
}

/// Checks that a node supports the scripts, with a key of that slot. One that does not have the
/// slot is not checked further.
async fn check_node(line: &mut Line, prefix: &KeyPrefix, slot: u16) -> Result<(), Failure> {
    let probe = probe(&probe_in(prefix, slot)).by_source();
    let checked = line.connection.send_packed_command(&probe).await;
    match checked.and_then(Value::extract_error) {
        Err(e) if !matches!(e.code(), Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")) => {
            Err(before_use(&e))
        }
        _ => Ok(()),
    }
}

/// Queries a node for the slot map.
async fn ask(
    mut kept: Kept,
    limits: Limits,
    counts_replicas: bool,
) -> Result<(Kept, MapReply), Failure> {
    let mut questions = redis::pipe();
    // The epoch before the map: a map that is newer than its epoch is harmless.
    questions.cmd("CLUSTER").arg("INFO");
    questions.cmd("CLUSTER").arg("SLOTS");
    if counts_replicas {
        questions.cmd("CLUSTER").arg("NODES");
    }
    let count = questions.len();
    let connection = &mut kept.line.connection;
    let answers = connection.send_packed_commands(&questions, 0, count);
    let answers = in_time(limits, async { answers.await.map_err(|e| failure_of(&e)) }).await?;
    kept.line.arrived.understood();
    let mut answers = answers.into_iter().map(Value::extract_error);
    let info = answers.next().and_then(Result::ok);
    let slots = answers.next().unwrap_or(Ok(Value::Nil));
    let slots = slots.map_err(|e| match e.detail() {
        Some(detail) if detail.contains("cluster support disabled") => Failure::before_sending(
            FailureKind::WrongUrl,
            "it is a single server: its URL begins with redis:// or rediss://",
        ),
        _ => before_use(&e),
    })?;
    let malformed = || Failure::before_sending(FailureKind::Malformed, "no map of slots");
    let mut map = SlotMap::parse(&slots, &kept.address.0).ok_or_else(malformed)?;
    if map.masters().is_empty() {
        // It was reset, or has not met the others yet.
        let detail = "it knows no node that has slots";
        return Err(Failure::before_sending(FailureKind::Unreachable, detail));
    }
    // The other queries are not needed, and may be denied.
    let nodes = answers.next().and_then(Result::ok);
    if let Some(nodes) = nodes.as_ref().and_then(text) {
        map.count_replicas(&nodes);
    }
    let info = info.as_ref().and_then(text).unwrap_or_default();
    let field = |name| info.lines().find_map(|line| line.strip_prefix(name));
    let epoch = field("cluster_current_epoch:").and_then(|epoch| epoch.trim().parse().ok());
    let reply = MapReply {
        map,
        epoch: epoch.unwrap_or_default(),
        checked: Ok(()),
        is_ok: field("cluster_state:").is_none_or(|state| state.trim() == "ok"),
    };
    Ok((kept, reply))
}

async fn in_time<T>(
    limits: Limits,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let limit = limits.command.max(SHORTEST_LIMIT);
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| {
        let detail = nothing("answer", limit);
        Err(Failure::before_sending(FailureKind::Silent, detail))
    })
}

impl MapReply {
    fn rank(&self) -> (bool, u64) {
        (self.is_ok, self.epoch)
    }

    fn is_current(&self, epoch: u64) -> bool {
        (true, epoch) <= self.rank()
    }
}
