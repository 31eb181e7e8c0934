//! A Sentinel group, and the current master of it.
//!
//! One thread per client queries every sentinel once a second. It queries at once if a sentinel
//! announces another master, or if a connection is dialed. [`View`] decides from the answers. Another
//! master retires all connections at once, so that no request waits for the old one.

mod ask;
mod count;
#[cfg(test)]
mod tests;
mod unheard;
mod url;
mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};

use super::diagnosis::Watched;
use super::retire::{Retire, retire_all};
use super::target::{Address, Target, mapped};
use crate::events::event::{Event, EventQueue, Level};
use crate::service::Service;
use crate::store::settings::LoginSource;
use crate::store::{AddressMap, Failure};
use crate::system::clock::Clock;
use count::Hosts;
pub(super) use url::SentinelUrl;
use view::{FRESH, SentinelReply, Switch, View};

/// The sentinels of a group, as one client knows them.
pub(super) struct Sentinels {
    url: SentinelUrl,
    address_map: Option<AddressMap>,
    /// How long a command may take.
    command_timeout: Duration,
    events: EventQueue,
    state: Mutex<State>,
    /// Until when the answers of a majority count, in microseconds of the local clock.
    heard_until: AtomicU64,
    /// Changes to query every sentinel at once.
    questions: Sender<u64>,
    /// Changes with each answer and each failure.
    answers: Sender<u64>,
    /// Changes when the master is replaced.
    switches: Sender<()>,
    /// Watches the sentinels, once a connection was dialed.
    thread: Mutex<Option<Service>>,
}

struct State {
    view: View,
    /// The outcome of the last query to each address: the time of an answered query, or the
    /// failure.
    outcomes: BTreeMap<Address, (Duration, Option<Failure>)>,
    /// The addresses of the URL's hosts, once resolved.
    resolved: Hosts,
    /// The id of the sentinel at each address that the sentinels name, as this client reaches it.
    ids: BTreeMap<Address, String>,
    /// The addresses that are being watched.
    watched: BTreeSet<Address>,
    /// The addresses that the sentinels had named when the watched addresses were chosen.
    considered: BTreeSet<Address>,
    /// Retired when the master is replaced.
    connections: Vec<Weak<dyn Retire>>,
    /// Whether the loss of the majority was reported.
    is_loss_reported: bool,
    is_unprotected_reported: bool,
}

fn now() -> Duration {
    Clock::Boot.now()
}

impl Sentinels {
    pub(super) fn new(
        url: SentinelUrl,
        address_map: Option<AddressMap>,
        command_timeout: Duration,
        events: EventQueue,
    ) -> Arc<Self> {
        let hosts: BTreeSet<&Address> = url.hosts.list.iter().collect();
        let state = State {
            view: View::new(hosts.len()),
            outcomes: BTreeMap::new(),
            resolved: BTreeMap::new(),
            ids: BTreeMap::new(),
            watched: BTreeSet::new(),
            considered: BTreeSet::new(),
            connections: Vec::new(),
            is_loss_reported: false,
            is_unprotected_reported: false,
        };
        Arc::new(Self {
            url,
            address_map,
            command_timeout,
            events,
            state: Mutex::new(state),
            heard_until: AtomicU64::new(0),
            questions: Sender::new(0),
            answers: Sender::new(0),
            switches: Sender::new(()),
            thread: Mutex::new(None),
        })
    }

    /// Returns the login of its servers.
    pub(super) fn login(&self) -> &LoginSource {
        &self.url.login
    }

    /// Adds a connection to retire when the master is replaced.
    pub(super) fn add(&self, connection: Weak<dyn Retire>) {
        let mut state = self.state();
        state.connections.retain(|known| 0 < known.strong_count());
        state.connections.push(connection);
    }

    /// Changes when the master is replaced.
    pub(super) fn switches(&self) -> Receiver<()> {
        self.switches.subscribe()
    }

    /// Queries the sentinels for the master, within the limit.
    pub(super) async fn master(self: &Arc<Self>, limit: Duration) -> Result<Target, Failure> {
        self.watch_on(Service::start)?;
        let asked = now();
        let mut answers = self.answers.subscribe();
        self.questions.send_modify(|n| *n += 1);
        let answered = async {
            loop {
                if let Some(known) = self.known_since(asked) {
                    return known;
                }
                // The sender exists as long as `self`.
                let _ = answers.changed().await;
            }
        };
        let address = match tokio::time::timeout(limit, answered).await {
            Ok(known) => known?,
            Err(_) => return Err(self.failure(asked)),
        };
        Ok(self.url.master(&address))
    }

    /// Returns the master, or why there is no majority. `None` while answers are outstanding.
    fn known_since(&self, asked: Duration) -> Option<Result<Address, Failure>> {
        let state = self.state();
        if let Some(master) = state.view.master_since(asked) {
            let announced = master.address.clone();
            drop(state);
            return Some(self.mapped(&announced));
        }
        let has_ended = |address: &Address| {
            let outcome = state.outcomes.get(address);
            outcome.is_some_and(|(at, _)| asked <= *at)
        };
        let is_over = !state.watched.is_empty()
            && state.considers_all()
            && state.watched.iter().all(has_ended);
        drop(state);
        is_over.then(|| Err(self.failure(asked)))
    }

    /// Returns whether a majority of the sentinels has answered recently.
    ///
    /// Without one, the server may have been replaced beyond a partition, and still accept requests.
    pub(super) fn is_heard(&self) -> bool {
        now().as_micros() <= self.heard_until.load(Ordering::Relaxed).into()
    }

    /// Returns the replicas of the master that the sentinels know, as last reported.
    pub(super) fn replicas(&self) -> Option<BTreeSet<Address>> {
        self.state().view.replicas().cloned()
    }

    /// Returns the time after which a master counts as dead, and how many of the sentinels answer.
    pub(super) fn watched(&self) -> Watched {
        let view = &self.state().view;
        Watched::BySentinels {
            down_after: view.down_after(),
            heard: view.heard_since(now().saturating_sub(FRESH)),
            known: view.known(),
        }
    }

    /// Reports once that the master accepts writes without replicas.
    pub(super) fn report_unprotected(&self) {
        if !std::mem::replace(&mut self.state().is_unprotected_reported, true) {
            self.events.emit(Level::Warn, || Event::UnprotectedMaster {
                store: self.to_string().into(),
            });
        }
    }

    /// Watches the sentinels on a thread, unless one does. A failed start is tried again at the next
    /// call.
    fn watch_on(
        self: &Arc<Self>,
        start: impl FnOnce() -> io::Result<Service>,
    ) -> Result<(), Failure> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return Ok(());
        }
        let service = start().map_err(|e| Failure::of_thread(&e))?;
        service.spawn(watch::watch_all(Arc::downgrade(self)));
        *thread = Some(service);
        Ok(())
    }

    /// Records the answer of a sentinel to a query sent at `sent`.
    fn answered(&self, from: &Address, sent: Duration, answer: SentinelReply) {
        let mut state = self.state();
        state.outcomes.insert(from.clone(), (sent, None));
        let switch = state.view.note(from, sent, answer);
        let heard_until = state.view.heard_until().as_micros();
        let heard_until = u64::try_from(heard_until).unwrap_or_default();
        self.heard_until.store(heard_until, Ordering::Relaxed);
        let retired = match switch {
            Some(_) => state.connections.clone(),
            None => Vec::new(),
        };
        if state.view.is_heard_since(sent.saturating_sub(FRESH)) {
            state.is_loss_reported = false;
        }
        drop(state);
        if let Some(Switch { from, to }) = switch {
            let shown = |(host, port): &Address| format!("{host}:{port}").into();
            self.events.emit(Level::Warn, || Event::MasterReplaced {
                store: self.to_string().into(),
                from: shown(&from),
                to: shown(&to),
            });
            retire_all(&retired);
            self.switches.send_replace(());
        }
        self.answers.send_modify(|n| *n += 1);
    }

    /// Records that a sentinel did not answer.
    fn failed(&self, address: &Address, failure: Failure) {
        let mut state = self.state();
        let outcome = (now(), Some(failure));
        state.outcomes.insert(address.clone(), outcome);
        let since = now().saturating_sub(FRESH);
        let is_lost = state.view.has_master() && !state.view.is_heard_since(since);
        let is_news = is_lost && !state.is_loss_reported;
        state.is_loss_reported |= is_news;
        drop(state);
        if is_news {
            self.events
                .emit(Level::Warn, || Event::SentinelsOutOfReach {
                    store: self.to_string().into(),
                    cause: Arc::new(self.failure(since)),
                });
        }
        self.answers.send_modify(|n| *n += 1);
    }

    /// Returns the address at which this client reaches an announced address. No mutex is locked
    /// meanwhile.
    fn mapped(&self, announced: &Address) -> Result<Address, Failure> {
        mapped(self.address_map.as_ref(), announced)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether every sentinel in the answers is watched, if it can be.
    fn considers_all(&self) -> bool {
        self.view.named().is_subset(&self.considered)
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
