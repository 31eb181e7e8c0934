//! A cluster, and which of its nodes has each slot.
//!
//! One thread per client queries a node for the slot map: at the first request, every minute, and as
//! soon as a request was redirected or a node does not serve. A master that is no longer in the map
//! has its connections retired at once, so that no request waits for it.

mod map;
mod query;
mod url;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};

use super::dial::ConnectionSettings;
use super::retire::{Retire, retire_all};
use super::target::{Address, Target, mapped};
use crate::events::event::{Event, Level};
use crate::service::Service;
use crate::store::settings::LoginSource;
use crate::store::{AddressMap, Failure, FailureKind};
use crate::system::clock::Clock;
use map::SlotMap;
pub(super) use map::{Redirection, number_of};
use query::MapReply;
pub(super) use url::ClusterUrl;

/// The interval between two queries for the slot map.
const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// The interval while a node does not serve: another one may replace it.
const REFRESH_IN_DOUBT: Duration = Duration::from_millis(100);
/// How long a node that did not serve is in doubt.
const DOUBT_LASTS: Duration = Duration::from_secs(5);
/// The shortest pause between two queries.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// A cluster, as one client knows it.
pub(super) struct Cluster {
    url: ClusterUrl,
    address_map: Option<AddressMap>,
    settings: ConnectionSettings,
    state: Mutex<ClusterState>,
    /// Whether replicas are queried along with the map.
    counts_replicas: AtomicBool,
    /// How many queries were asked for.
    questions: Sender<u64>,
    /// How many of them are answered, or have failed.
    answers: Sender<u64>,
    /// Changes when a master is replaced.
    switches: Sender<()>,
    /// Queries the nodes, once a request was made.
    thread: Mutex<Option<Service>>,
}

#[derive(Default)]
struct ClusterState {
    map: Option<SlotMap>,
    /// The masters in the last answer. A redirection does not change them.
    masters: BTreeSet<Address>,
    /// The epoch of the cluster in the last answer that counted.
    epoch: u64,
    /// Why the last query failed, if it did.
    failure: Option<Failure>,
    /// Why the node that answered last does not support the scripts, if it does not.
    unsupported: Option<Failure>,
    /// The node that the last redirection named. It is queried first.
    named: Option<Address>,
    /// Until when a node is in doubt, on the local clock.
    in_doubt_until: Duration,
    /// Retired when their master is replaced.
    connections: Vec<(Address, Weak<dyn Retire>)>,
}

impl Cluster {
    pub(super) fn new(
        url: ClusterUrl,
        address_map: Option<AddressMap>,
        settings: ConnectionSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            url,
            address_map,
            settings,
            state: Mutex::default(),
            counts_replicas: AtomicBool::new(false),
            questions: Sender::new(0),
            answers: Sender::new(0),
            switches: Sender::new(()),
            thread: Mutex::new(None),
        })
    }

    /// Returns the login of its nodes.
    pub(super) fn login(&self) -> &LoginSource {
        &self.url.login
    }

    /// Changes when a master is replaced.
    pub(super) fn switches(&self) -> Receiver<()> {
        self.switches.subscribe()
    }

    /// Makes sure, within the limit, that the slot map is known.
    pub(super) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<(), Failure> {
        if self.state().map.is_some() {
            return Ok(());
        }
        self.refresh(limit).await
    }

    /// Returns whether the node that answered last supports the scripts.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.state().unsupported.clone().map_or(Ok(()), Err)
    }

    /// Queries for the slot map, and waits within the limit until it is known.
    pub(super) async fn refresh(self: &Arc<Self>, limit: Duration) -> Result<(), Failure> {
        self.watch()?;
        let mut answers = self.answers.subscribe();
        self.questions.send_modify(|asked| *asked += 1);
        let asked = *self.questions.borrow();
        // The sender exists as long as `self`.
        let answered = answers.wait_for(|answered| asked <= *answered);
        let is_in_time = tokio::time::timeout(limit, answered).await.is_ok();
        match &self.state().failure {
            Some(failure) => Err(failure.clone()),
            None if is_in_time => Ok(()),
            None => Err(Failure::before_sending(
                FailureKind::Silent,
                "no node answers with the slot map in time",
            )),
        }
    }

    /// Returns the master of a slot, within the limit.
    pub(super) async fn master(
        self: &Arc<Self>,
        slot: u16,
        limit: Duration,
    ) -> Result<Arc<Address>, Failure> {
        if let Some(master) = self.known_master(slot) {
            return Ok(master);
        }
        self.refresh(limit).await?;
        self.known_master(slot).ok_or_else(|| {
            let detail = format!("no node of the cluster has slot {slot}");
            Failure::before_sending(FailureKind::Unreachable, detail)
        })
    }

    pub(super) fn known_master(&self, slot: u16) -> Option<Arc<Address>> {
        self.state().map.as_ref()?.master(slot).cloned()
    }

    /// Returns whether the master at that address has that id.
    pub(super) fn has_id(&self, master: &Address, id: &str) -> bool {
        let state = self.state();
        let map = state.map.as_ref();
        map.is_some_and(|map| map.has_id(master, id))
    }

    /// Returns a slot of the master at that address.
    pub(super) fn slot_of(&self, master: &Address) -> Option<u16> {
        self.state().map.as_ref()?.slot_of(master)
    }

    /// Returns how many replicas the master of a slot has, reachable or not, if its nodes name them.
    /// From the first call on, they are queried along with the map.
    pub(super) async fn replicas(self: &Arc<Self>, slot: u16, limit: Duration) -> Option<u32> {
        self.counts_replicas.store(true, Ordering::Relaxed);
        let known = || self.state().map.as_ref()?.replicas(slot);
        if let Some(known) = known() {
            return Some(known);
        }
        self.refresh(limit).await.ok()?;
        known()
    }

    /// Returns all masters that have slots, in order.
    pub(super) fn masters(&self) -> BTreeSet<Address> {
        let state = self.state();
        state.map.as_ref().map(SlotMap::masters).unwrap_or_default()
    }

    /// Notes that a slot has moved, and queries for the rest of the map.
    pub(super) fn moved(&self, slot: u16, master: Address) {
        let mut state = self.state();
        if let Some(map) = &mut state.map {
            map.set_master(slot, master.clone());
        }
        state.named = Some(master);
        drop(state);
        self.questions.send_modify(|asked| *asked += 1);
    }

    /// Notes that a node does not serve. For a while the map is queried often.
    pub(super) fn doubt(&self) {
        self.state().in_doubt_until = now() + DOUBT_LASTS;
        self.questions.send_modify(|asked| *asked += 1);
    }

    /// Adds a connection to retire when the master at that address is replaced.
    pub(super) fn add(&self, address: Address, connection: Weak<dyn Retire>) {
        let mut state = self.state();
        state
            .connections
            .retain(|(_, known)| 0 < known.strong_count());
        state.connections.push((address, connection));
    }

    /// Returns the target of the node at an announced address. The map is code of the program: it
    /// may block and panic, so no mutex is locked meanwhile.
    pub(super) fn target(&self, announced: &Address) -> Result<Target, Failure> {
        Ok(self
            .url
            .node(&mapped(self.address_map.as_ref(), announced)?))
    }

    /// Queries for the map on a thread, unless one does. A failed start is tried again at the next
    /// call.
    fn watch(self: &Arc<Self>) -> Result<(), Failure> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let service = Service::start().map_err(|e| Failure::of_thread(&e))?;
            service.spawn(query::watch(Arc::downgrade(self)));
            *thread = Some(service);
        }
        Ok(())
    }

    /// Replaces the map. The connections of masters that are no longer in it are retired.
    fn answered(&self, reply: MapReply) {
        let mut state = self.state();
        let masters = reply.map.masters();
        let gone: Vec<Address> = state.masters.difference(&masters).cloned().collect();
        state.masters = masters;
        // The nodes that have their slots now.
        let heirs = gone.iter().map(|address| {
            let slot = state.map.as_ref().and_then(|map| map.slot_of(address));
            slot.and_then(|slot| reply.map.master(slot)).cloned()
        });
        let heirs: Vec<Option<Arc<Address>>> = heirs.collect();
        (state.map, state.epoch, state.failure) = (Some(reply.map), reply.epoch, None);
        state.unsupported = reply.checked.err();
        let retired = state.connections.iter();
        let retired = retired.filter(|(address, _)| gone.contains(address));
        let retired: Vec<_> = retired.map(|(_, connection)| connection.clone()).collect();
        drop(state);
        for (from, to) in gone.iter().zip(heirs) {
            let shown = |(host, port): &Address| format!("{host}:{port}").into();
            let to = to.as_deref().map_or_else(|| "no node".into(), shown);
            self.settings
                .events
                .emit(Level::Warn, || Event::MasterReplaced {
                    store: self.to_string().into(),
                    from: shown(from),
                    to,
                });
        }
        retire_all(&retired);
        if !gone.is_empty() {
            self.switches.send_replace(());
        }
    }

    fn failed(&self, failure: Failure) {
        self.state().failure = Some(failure);
    }

    fn state(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Duration {
    Clock::Boot.now()
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
