//! One runtime's connections to the nodes of a cluster: one to each master in use.
//!
//! A request is sent again only if a node answers that it did not run it: after a redirection, or if
//! the node did not know the script.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::Cmd;

use super::acknowledger::{Acknowledged, Acknowledger};
use super::cluster::{Cluster, Redirection, number_of};
use super::connection::{Arrival, Connection, Subscription};
use super::dial::ConnectionSettings;
use super::keys::channel_in;
use super::route::{Node, ServerRoute};
use super::script::Call;
use super::target::Address;
use super::wait_command::Needed;
use crate::store::diagnosis::Check;
use crate::store::{Failure, FailureKind, Registry};

/// How often a request is redirected before that is a failure.
const MOST_REDIRECTIONS: u32 = 5;

/// The pause before the third redirection, which doubles with each further one. While a slot moves,
/// nodes may not agree for a moment.
const REDIRECTION_PAUSE: Duration = Duration::from_millis(10);

/// How long a request that was not sent waits for a newer slot map.
const LONGEST_REFRESH: Duration = Duration::from_secs(1);

/// The connections of the runtime that uses them.
pub(super) struct NodeConnections {
    cluster: Arc<Cluster>,
    settings: ConnectionSettings,
    /// The waiters of this runtime, and the end of their channels.
    subscriber: Option<(Weak<Registry>, Arc<str>)>,
    nodes: Mutex<HashMap<Address, Arc<Connection>>>,
    /// Dialed once something has to be acknowledged.
    acknowledgers: Mutex<HashMap<Address, Arc<Acknowledger>>>,
}

impl NodeConnections {
    /// Makes connections that are not dialed yet.
    pub(super) fn new(
        cluster: Arc<Cluster>,
        settings: ConnectionSettings,
        subscriber: Option<(Weak<Registry>, Arc<str>)>,
    ) -> Self {
        Self {
            cluster,
            settings,
            subscriber,
            nodes: Mutex::default(),
            acknowledgers: Mutex::default(),
        }
    }

    /// Makes sure, within the limit, that the cluster answers, and the master of that slot.
    pub(super) async fn connect(&self, slot: Option<u16>, limit: Duration) -> Result<(), Failure> {
        let begun = Instant::now();
        let limit = limit.min(self.settings.limits.connect);
        self.cluster.connect(limit).await?;
        let Some(slot) = slot else {
            return Ok(());
        };
        let left = || limit.saturating_sub(begun.elapsed());
        let address = self.cluster.master(slot, left()).await?;
        match self.node(&address).connect(left()).await {
            Err(failure) if self.has_new_master(slot, &address, &failure, left()).await => {
                let address = self.cluster.master(slot, left()).await?;
                self.node(&address).connect(left()).await
            }
            connected => connected,
        }
    }

    /// Returns whether the node that answered with the slot map supports the protocol.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.cluster.check()
    }

    /// Returns the longest round-trip time to a node, as last measured.
    pub(super) fn round_trip(&self) -> Duration {
        let nodes = self.nodes();
        let times = nodes.values().map(|node| node.round_trip());
        times.max().unwrap_or_default()
    }

    /// Returns the channel of the waiters of a slot; empty without notifications.
    pub(super) fn channel(&self, slot: u16) -> Arc<str> {
        let subscriber = self.subscriber.as_ref();
        let channel =
            subscriber.map(|(_, id)| channel_in(&self.settings.key_prefix, slot, id).into());
        channel.unwrap_or_default()
    }

    /// Returns a number of the master of a slot; zero while it is not known.
    pub(super) fn server_of(&self, slot: u16) -> u64 {
        let master = self.cluster.known_master(slot);
        master.map_or(0, |master| number_of(&master))
    }

    /// Calls a script on the master of a slot, and waits for its answer within `limit`. Redirections
    /// share the time that dialing and one call may take.
    ///
    /// With a channel, the connection is subscribed to it before the call, unless it is.
    pub(super) async fn call(
        &self,
        slot: u16,
        call: &Call,
        channel: Option<&Arc<str>>,
        limit: Duration,
    ) -> Result<Arrival, Failure> {
        let limit = limit.min(self.settings.limits.command.saturating_mul(2));
        self.follow(slot, limit, |address, is_asking, left| async move {
            let node = self.node(&address);
            match channel.filter(|channel| !node.listens(channel)) {
                // If it cannot subscribe, the next poll tries again.
                Some(channel) => {
                    node.subscribe_and_call(channel, call, is_asking, left)
                        .await
                }
                None => node.call(call, is_asking, left).await,
            }
        })
        .await
    }

    /// Calls a script that writes on the master of a slot, and waits for the acknowledgements.
    pub(super) async fn call_acknowledged(
        &self,
        slot: u16,
        call: Call,
        needed: Needed,
        limit: Duration,
    ) -> Result<Acknowledged, Failure> {
        self.follow(slot, limit, |address, is_asking, left| {
            let (acknowledger, call) = (self.acknowledger(&address), call.clone());
            async move { acknowledger.call(call, is_asking, needed, left).await }
        })
        .await
    }

    /// Sends a request to the master of a slot, and where its answers redirect it.
    async fn follow<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        slot: u16,
        limit: Duration,
        send: impl Fn(Arc<Address>, bool, Duration) -> F,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        let left = || limit.saturating_sub(begun.elapsed());
        let mut asked_of = None;
        for n in 0..=MOST_REDIRECTIONS {
            pause_before(n).await;
            let is_asking = asked_of.is_some();
            let address = match asked_of.take() {
                Some(address) => address,
                None => self.cluster.master(slot, left()).await?,
            };
            let failure = match send(address.clone(), is_asking, left()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match Redirection::parse(&failure.detail, &address.0) {
                Some(Redirection::Moved(slot, master)) => self.cluster.moved(slot, master),
                Some(Redirection::Ask(node)) => asked_of = Some(Arc::new(node)),
                None if self.has_new_master(slot, &address, &failure, left()).await => {}
                None => return Err(unless_redirected(failure)),
            }
        }
        Err(in_a_circle())
    }

    /// Returns how many replicas the master of a slot has, reachable or not, if they are known.
    pub(super) async fn replicas(&self, slot: u16, limit: Duration) -> Option<u32> {
        self.cluster.replicas(slot, limit).await
    }

    /// Returns the connection for acknowledgements of the node at that address.
    fn acknowledger(&self, address: &Address) -> Arc<Acknowledger> {
        let all = &self.acknowledgers;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(address).filter(|known| !known.is_retired()) {
            return known.clone();
        }
        let connection = self.connection(address, None);
        let acknowledger = Arc::new(Acknowledger::new(connection));
        let before = all.insert(address.clone(), acknowledger.clone());
        drop(all);
        drop(before);
        acknowledger
    }

    /// Returns whether another node has replaced the master that did not serve a request. Then the
    /// request can be sent to that node.
    async fn has_new_master(
        &self,
        slot: u16,
        address: &Address,
        failure: &Failure,
        left: Duration,
    ) -> bool {
        let is_down = failure.is_silence() || failure.detail.starts_with("CLUSTERDOWN");
        if !is_down || failure.may_have_run || left.is_zero() {
            return false;
        }
        self.cluster.doubt();
        let refreshed = self.cluster.refresh(left.min(LONGEST_REFRESH)).await;
        let master = self.cluster.known_master(slot);
        refreshed.is_ok() && master.is_some_and(|master| *master != *address)
    }

    /// Returns whether the waiters of a slot receive messages.
    pub(super) fn listens(&self, slot: u16, channel: &Arc<str>) -> bool {
        let master = self.cluster.known_master(slot);
        let node = master.and_then(|master| self.nodes().get(&*master).cloned());
        node.is_some_and(|node| node.listens(channel))
    }

    /// Sends a command that reads to the node at that address.
    pub(super) async fn query(
        &self,
        address: &Address,
        cmd: &Cmd,
        limit: Duration,
    ) -> Result<Arrival, Failure> {
        self.node(address).query(cmd, limit).await
    }

    /// Checks the settings of the node at that address, for holds with that lease.
    pub(super) async fn diagnose(
        &self,
        address: &Address,
        lease: Duration,
    ) -> Result<Vec<Check>, Failure> {
        let slot = self.cluster.slot_of(address).unwrap_or_default();
        let (node, channel) = (self.node(address), self.channel(slot));
        node.diagnose(&channel, lease).await
    }

    /// Returns the master that follows that address in order.
    pub(super) fn master_after(&self, address: Option<&Address>) -> Option<Address> {
        let mut masters = self.cluster.masters().into_iter();
        masters.find(|master| Some(master) > address)
    }

    /// Returns whether that is the address of a master.
    pub(super) fn is_master(&self, address: &Address) -> bool {
        self.cluster.masters().contains(address)
    }

    /// Returns the connection to the node at that address.
    fn node(&self, address: &Address) -> Arc<Connection> {
        let mut nodes = self.nodes();
        if let Some(node) = nodes.get(address).filter(|node| !node.is_retired()) {
            return node.clone();
        }
        let subscriber = self.subscriber.as_ref();
        let subscription = subscriber.map(|(registry, _)| Subscription {
            channel: None,
            registry: registry.clone(),
        });
        let connection = Arc::new(self.connection(address, subscription));
        let all = std::mem::take(&mut *nodes).into_iter();
        let (retired, used): (HashMap<_, _>, _) = all.partition(|(_, node)| node.is_retired());
        *nodes = used;
        nodes.insert(address.clone(), connection.clone());
        drop(nodes);
        drop(retired);
        connection
    }

    fn connection(&self, address: &Address, subscription: Option<Subscription>) -> Connection {
        let node = Node {
            cluster: self.cluster.clone(),
            address: address.clone(),
        };
        let route = ServerRoute::Node(Arc::new(node));
        Connection::new(route, self.settings.clone(), subscription)
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<Address, Arc<Connection>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn pause_before(redirection: u32) {
    if let Some(doubled) = redirection.checked_sub(3) {
        tokio::time::sleep(REDIRECTION_PAUSE * (1 << doubled)).await;
    }
}

fn in_a_circle() -> Failure {
    let detail = "its nodes redirect requests in a circle";
    Failure::before_sending(FailureKind::Unreachable, detail)
}

/// Returns the failure; a transient one, if it is a redirection to a node without an address.
fn unless_redirected(failure: Failure) -> Failure {
    let mut words = failure.detail.split(' ');
    match words.next() {
        Some("MOVED" | "ASK") => Failure::before_sending(FailureKind::Moving, failure.detail),
        _ => failure,
    }
}
