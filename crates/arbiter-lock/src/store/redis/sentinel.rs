//! A Sentinel group: which of its servers is the master.
//!
//! One thread per client asks every sentinel once a second, and at once when one of them announces
//! another master or when a connection is dialed. [`View`] decides from the answers. Another master
//! retires all connections at once, so that nothing waits for the old one.

mod ask;
mod url;
mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};

use super::target::Target;
use crate::events::event::{Event, EventQueue, Level};
use crate::service::Service;
use crate::store::{AddressMap, Failure, FailureKind};
use crate::system::clock::Clock;
pub(super) use url::SentinelUrl;
use view::{Address, FRESH, SentinelReply, View};

/// The sentinels of a group, as one client knows them.
pub(super) struct Sentinels {
    url: SentinelUrl,
    address_map: Option<AddressMap>,
    events: EventQueue,
    state: Mutex<State>,
    /// Until when a majority counts as heard, in microseconds of the local clock.
    heard_until: AtomicU64,
    /// Changes to ask every sentinel at once.
    questions: Sender<u64>,
    /// Changes with each answer and each failure.
    answers: Sender<u64>,
    /// Counts how often the master was replaced.
    switches: Sender<u64>,
    /// Watches the sentinels, once a connection was dialed.
    thread: OnceLock<Result<Service, String>>,
}

struct State {
    view: View,
    /// Why sentinels did not answer, by address, and when that was.
    failures: BTreeMap<Address, (Duration, Failure)>,
    /// The addresses of the URL's hosts, once resolved.
    resolved: BTreeMap<Address, String>,
    /// The addresses that are being watched.
    watched: BTreeSet<Address>,
    /// Retired when the master is replaced.
    connections: Vec<Weak<dyn Retire>>,
    /// Whether the loss of the majority was reported.
    is_loss_reported: bool,
    is_unprotected_reported: bool,
}

/// A connection to the master.
pub(super) trait Retire: Send + Sync {
    /// The master was replaced: the connection is closed at once.
    fn retire(&self);
}

fn now() -> Duration {
    Clock::Boot.now()
}

impl Sentinels {
    pub(super) fn new(
        url: SentinelUrl,
        address_map: Option<AddressMap>,
        events: EventQueue,
    ) -> Arc<Self> {
        let state = State {
            view: View::new(url.hosts.len()),
            failures: BTreeMap::new(),
            resolved: BTreeMap::new(),
            watched: BTreeSet::new(),
            connections: Vec::new(),
            is_loss_reported: false,
            is_unprotected_reported: false,
        };
        Arc::new(Self {
            url,
            address_map,
            events,
            state: Mutex::new(state),
            heard_until: AtomicU64::new(0),
            questions: Sender::new(0),
            answers: Sender::new(0),
            switches: Sender::new(0),
            thread: OnceLock::new(),
        })
    }

    /// Adds a connection to retire when the master is replaced.
    pub(super) fn add(&self, connection: Weak<dyn Retire>) {
        let mut state = self.state();
        state.connections.retain(|known| 0 < known.strong_count());
        state.connections.push(connection);
    }

    /// Changes when the master is replaced.
    pub(super) fn switches(&self) -> Receiver<u64> {
        self.switches.subscribe()
    }

    /// Asks the sentinels for the master, within the limit.
    pub(super) async fn master(self: &Arc<Self>, limit: Duration) -> Result<Target, Failure> {
        self.start()?;
        let asked = now();
        let mut answers = self.answers.subscribe();
        self.questions.send_modify(|n| *n += 1);
        let answered = async {
            loop {
                if let Some(known) = self.known_since(asked) {
                    return known;
                }
                // The sender lives as long as this.
                let _ = answers.changed().await;
            }
        };
        let (host, port) = match tokio::time::timeout(limit, answered).await {
            Ok(known) => known?,
            Err(_) => return Err(self.failure(asked)),
        };
        Ok(self.url.master(&host, port))
    }

    /// The master, or why no majority can be had: `None` while sentinels have yet to answer.
    fn known_since(&self, asked: Duration) -> Option<Result<Address, Failure>> {
        let state = self.state();
        if let Some(master) = state.view.master_since(asked) {
            return Some(Ok(self.mapped(&master.address)));
        }
        let has_failed = |address: &Address| {
            let failure = state.failures.get(address);
            failure.is_some_and(|(at, _)| asked <= *at)
        };
        let failed = state.watched.iter().filter(|a| has_failed(a)).count();
        let is_over = !state.watched.is_empty()
            && self.watches_all(&state)
            && state.watched.len() <= failed + state.view.heard_since(asked);
        drop(state);
        is_over.then(|| Err(self.failure(asked)))
    }

    /// Whether every sentinel that the answers name is watched.
    fn watches_all(&self, state: &State) -> bool {
        let named = state.view.named();
        let mut named = named.iter().map(|address| self.mapped(address));
        named.all(|address| state.watched.contains(&address))
    }

    /// Fails unless a majority of the sentinels was heard lately: the server may have been replaced
    /// beyond a partition, and accept requests all the same.
    pub(super) fn check_heard(&self) -> Result<(), Failure> {
        let now = now();
        if now.as_micros() <= self.heard_until.load(Ordering::Relaxed).into() {
            return Ok(());
        }
        Err(self.failure(now.saturating_sub(FRESH)))
    }

    /// Says once that the master does not protect itself.
    pub(super) fn report_unprotected(&self) {
        if !std::mem::replace(&mut self.state().is_unprotected_reported, true) {
            self.events.emit(Level::Warn, || Event::UnprotectedMaster {
                store: self.to_string().into(),
            });
        }
    }

    /// Why there is no majority. What does not pass by itself comes first.
    fn failure(&self, since: Duration) -> Failure {
        let state = self.state();
        let (heard, known) = (state.view.heard_since(since), state.view.known());
        let failures = state.failures.iter();
        let recent = failures.filter(|(_, (at, _))| since <= *at);
        let worst = recent.min_by_key(|(_, (_, failure))| failure.is_transient());
        let Some(((host, port), (_, failure))) = worst else {
            let detail = format!("{heard} of {known} sentinels answered");
            return Failure::before_sending(FailureKind::Silent, detail);
        };
        if failure.kind == FailureKind::WrongUrl {
            return failure.clone();
        }
        let detail =
            format!("{heard} of {known} sentinels answered; the one at {host}:{port} {failure}");
        let kind = match failure.is_transient() {
            true => FailureKind::Unreachable,
            false => failure.kind,
        };
        Failure::before_sending(kind, detail)
    }

    fn start(self: &Arc<Self>) -> Result<(), Failure> {
        let thread = self.thread.get_or_init(|| {
            let service = Service::start().map_err(|e| e.to_string())?;
            service.spawn(watch::watch_all(Arc::downgrade(self)));
            Ok(service)
        });
        match thread {
            Ok(_) => Ok(()),
            Err(e) => Err(Failure::before_sending(
                FailureKind::Unreachable,
                format!("this system starts no thread for it: {e}"),
            )),
        }
    }

    /// A sentinel answered a question that was sent at `sent`.
    fn answered(&self, from: &Address, sent: Duration, answer: SentinelReply) {
        let mut state = self.state();
        state.failures.remove(from);
        let before = state.view.master_since(Duration::ZERO).cloned();
        let is_switch = state.view.note(sent, answer);
        let heard_until = state.view.heard_until().as_micros();
        let heard_until = u64::try_from(heard_until).unwrap_or_default();
        self.heard_until.store(heard_until, Ordering::Relaxed);
        let after = state.view.master_since(Duration::ZERO).cloned();
        let retired = match is_switch {
            true => state.connections.clone(),
            false => Vec::new(),
        };
        if state.view.is_heard_since(sent.saturating_sub(FRESH)) {
            state.is_loss_reported = false;
        }
        drop(state);
        if is_switch {
            let shown = |(host, port): &Address| format!("{host}:{port}").into();
            if let (Some(from), Some(to)) = (before, after) {
                self.events.emit(Level::Warn, || Event::MasterReplaced {
                    store: self.to_string().into(),
                    from: shown(&from.address),
                    to: shown(&to.address),
                });
            }
            retired
                .iter()
                .filter_map(Weak::upgrade)
                .for_each(|connection| connection.retire());
            self.switches.send_modify(|n| *n += 1);
        }
        self.answers.send_modify(|n| *n += 1);
    }

    /// A sentinel did not answer.
    fn failed(&self, address: &Address, failure: Failure) {
        let mut state = self.state();
        state.failures.insert(address.clone(), (now(), failure));
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

    /// The address at which this client reaches what is announced at another.
    fn mapped(&self, (host, port): &Address) -> Address {
        match &self.address_map {
            Some(map) => map(host, *port),
            None => (host.clone(), *port),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}
