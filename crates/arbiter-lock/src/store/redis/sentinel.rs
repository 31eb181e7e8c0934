//! A Sentinel group, and the current master of it.
//!
//! One thread per client queries every sentinel once a second. It queries at once if a sentinel
//! announces another master, or if a connection is dialed. [`View`] decides from the answers. Another
//! master retires all connections at once, so that no request waits for the old one.

mod ask;
mod count;
mod url;
mod view;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};

use super::target::Target;
use crate::events::event::{Event, EventQueue, Level};
use crate::service::Service;
use crate::store::{AddressMap, Failure, FailureKind};
use crate::system::clock::Clock;
use count::{Hosts, count};
pub(super) use url::SentinelUrl;
use view::{Address, FRESH, SentinelReply, Switch, View};

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

/// A connection to the master.
pub(super) trait Retire: Send + Sync {
    /// Closes the connection at once, after the master was replaced.
    fn retire(&self);
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
        let hosts: BTreeSet<&Address> = url.hosts.iter().collect();
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
        let (host, port) = match tokio::time::timeout(limit, answered).await {
            Ok(known) => known?,
            Err(_) => return Err(self.failure(asked)),
        };
        Ok(self.url.master(&host, port))
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

    /// Returns the failure of a request while no majority is heard.
    pub(super) fn unheard(&self) -> Failure {
        // No sentinel was queried while the machine was suspended.
        self.questions.send_modify(|n| *n += 1);
        self.failure(now().saturating_sub(FRESH))
    }

    /// Returns how many replicas of the master the sentinels know, as last reported.
    pub(super) fn replicas(&self) -> Option<u64> {
        self.state().view.replicas()
    }

    /// Returns why dialing took longer than `spent`, if the reason is a missing majority.
    pub(super) fn unheard_within(&self, spent: Duration) -> Option<Failure> {
        let since = now().saturating_sub(spent);
        let is_heard = self.state().view.is_heard_since(since);
        (!is_heard).then(|| self.failure(since))
    }

    /// Reports once that the master accepts writes without replicas.
    pub(super) fn report_unprotected(&self) {
        if !std::mem::replace(&mut self.state().is_unprotected_reported, true) {
            self.events.emit(Level::Warn, || Event::UnprotectedMaster {
                store: self.to_string().into(),
            });
        }
    }

    /// Returns why there is no majority. A permanent failure comes first. It is final if the other
    /// sentinels are no majority.
    fn failure(&self, since: Duration) -> Failure {
        let state = self.state();
        let (heard, known) = (state.view.heard_since(since), state.view.known());
        let recent = state.outcomes.iter().filter(|(_, (at, _))| since <= *at);
        let failures: Vec<(&Address, &Failure)> = recent
            .filter_map(|(address, (_, failure))| Some((address, failure.as_ref()?)))
            .collect();
        let worst = failures.iter().min_by_key(|(_, f)| f.is_transient());
        let Some(((host, port), failure)) = worst else {
            let detail = format!("{heard} of {known} sentinels answered");
            return Failure::before_sending(FailureKind::Silent, detail);
        };
        let lasting = failures.iter().filter(|(_, f)| !f.is_transient());
        let lasting = state.count_failed(lasting.map(|(address, _)| *address).collect(), since);
        let is_final = 2 * known.saturating_sub(lasting) <= known;
        if is_final && failure.kind == FailureKind::WrongUrl {
            return (*failure).clone();
        }
        let detail =
            format!("{heard} of {known} sentinels answered; the one at {host}:{port} {failure}");
        let kind = match is_final {
            true => failure.kind,
            false => FailureKind::Unreachable,
        };
        Failure::before_sending(kind, detail)
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
        let service = start().map_err(|e| {
            let detail = format!("this system starts no thread for it: {e}");
            Failure::before_sending(FailureKind::Unreachable, detail)
        })?;
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
            for connection in retired.iter().filter_map(Weak::upgrade) {
                // A waker of the program may panic: the other connections are still retired.
                let _ = catch_unwind(AssertUnwindSafe(|| connection.retire()));
            }
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

    /// Returns the address at which this client reaches an announced address. The map is code of
    /// the program: it may block and panic, so no mutex is locked meanwhile.
    fn mapped(&self, announced: &Address) -> Result<Address, Failure> {
        let Some(map) = &self.address_map else {
            return Ok(announced.clone());
        };
        let (host, port) = announced;
        catch_unwind(AssertUnwindSafe(|| map(host, *port))).map_err(|_| {
            let detail = format!("the address map panics for {host}:{port}");
            Failure::before_sending(FailureKind::Unreachable, detail)
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns how many sentinels have failed at those addresses, counted as the URL's hosts are.
    ///
    /// Addresses with one id are one. A sentinel that has answered since then has not failed.
    fn count_failed(&self, mut failed: BTreeSet<&Address>, since: Duration) -> usize {
        let mut ids = self.view.ids_by_address();
        ids.extend(self.ids.clone());
        let mut ended = self.view.ids_heard_since(since);
        failed.retain(|address| ids.get(*address).is_none_or(|id| ended.insert(id)));
        let hosts = self.resolved.values().map(|host| host.iter().collect());
        let hosts = hosts.map(|host: BTreeSet<_>| &host & &failed);
        let alone = failed.iter().map(|address| [*address].into());
        count(hosts.chain(alone).filter(|host| !host.is_empty()))
    }

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

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicUsize;

    use super::view::Master;
    use super::*;
    use crate::NoopLogger;

    fn address(port: u16) -> Address {
        ("127.0.0.1".to_owned(), port)
    }

    fn group(map: Option<AddressMap>) -> Arc<Sentinels> {
        let url = SentinelUrl::parse("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/m");
        let url = url.unwrap().unwrap();
        let events = EventQueue::new(Box::new(NoopLogger));
        Sentinels::new(url, map, Duration::from_secs(1), events)
    }

    /// Records answers of the sentinels of a group, each at the port of its number.
    fn answer(group: &Sentinels, sentinels: &[u16], epoch: u64, master: u16) {
        for n in sentinels {
            let master = Master {
                epoch,
                address: address(master),
            };
            let reply = SentinelReply {
                id: n.to_string(),
                master,
                replicas: None,
                others: Vec::new(),
            };
            group.answered(&address(*n), now(), reply);
        }
    }

    fn fails(group: &Sentinels, sentinel: u16, kind: FailureKind) {
        group.failed(&address(sentinel), Failure::before_sending(kind, "x"));
    }

    #[test]
    fn refusal_is_final_once_no_majority_is_left() {
        for lasting in [
            FailureKind::Denied,
            FailureKind::WrongUrl,
            FailureKind::Malformed,
        ] {
            let group = group(None);
            let asked = now();
            fails(&group, 1, lasting);
            fails(&group, 2, FailureKind::Unreachable);
            assert!(group.failure(asked).is_transient(), "{lasting:?}");
            fails(&group, 3, lasting);
            assert_eq!(group.failure(asked).kind, lasting);
        }
    }

    #[test]
    fn refusals_of_one_sentinel_are_not_a_majority() {
        let url = SentinelUrl::parse("redis+sentinel://a:1,b:1,c:1/m").unwrap();
        let events = EventQueue::new(Box::new(NoopLogger));
        let group = Sentinels::new(url.unwrap(), None, Duration::from_secs(1), events);
        let at = |host: &str| (host.to_owned(), 1);
        let hosts = [
            ("a", &["10.0.0.1", "fd::1"][..]),
            ("b", &["10.0.0.2", "fd::2"]),
            ("c", &["10.0.0.3", "fd::3"]),
        ];
        let hosts = hosts.map(|(host, ips)| (at(host), ips.iter().map(|ip| at(ip)).collect()));
        group.state().resolved = hosts.into();
        let asked = now();
        let denies = |host: &str| {
            group.failed(&at(host), Failure::before_sending(FailureKind::Denied, "x"));
        };
        denies("10.0.0.1");
        denies("fd::1");
        assert!(group.failure(asked).is_transient());
        denies("fd::2");
        assert_eq!(group.failure(asked).kind, FailureKind::Denied);
    }

    #[test]
    fn sentinel_that_answers_elsewhere_has_not_refused() {
        let group = group(None);
        let asked = now();
        let reply = SentinelReply {
            id: "1".to_owned(),
            master: Master {
                epoch: 1,
                address: address(7),
            },
            replicas: None,
            others: vec![("2".to_owned(), address(2))],
        };
        group.answered(&address(1), now(), reply);
        let second = ("fd::1".to_owned(), 1);
        group.state().ids.insert(second.clone(), "1".to_owned());
        group.failed(&second, Failure::before_sending(FailureKind::Denied, "x"));
        fails(&group, 2, FailureKind::Denied);
        assert!(group.failure(asked).is_transient());
        fails(&group, 3, FailureKind::Denied);
        assert_eq!(group.failure(asked).kind, FailureKind::Denied);
    }

    #[test]
    fn refusals_with_one_id_count_once() {
        let group = group(None);
        for (port, id) in [(8, "a"), (9, "a")] {
            group.state().ids.insert(address(port), id.to_owned());
        }
        let asked = now();
        fails(&group, 8, FailureKind::Denied);
        fails(&group, 9, FailureKind::Denied);
        assert!(group.failure(asked).is_transient());
        fails(&group, 1, FailureKind::Denied);
        assert_eq!(group.failure(asked).kind, FailureKind::Denied);
    }

    #[test]
    fn thread_that_failed_to_start_is_retried() {
        let group = group(None);
        let refused = || Err(io::Error::from_raw_os_error(11));
        let failure = group.watch_on(refused).unwrap_err();
        assert!(failure.is_transient(), "{failure}");
        group.watch_on(Service::start).unwrap();
        group.watch_on(|| panic!("it runs already")).unwrap();
    }

    #[test]
    fn address_map_is_called_without_a_lock() {
        let (calls, slot) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
        let (counted, of_group) = (calls.clone(), slot.clone());
        let map = move |host: &str, port: u16| {
            let group: &Weak<Sentinels> = of_group.get().unwrap();
            assert!(group.upgrade().unwrap().state.try_lock().is_ok());
            counted.fetch_add(1, Ordering::Relaxed);
            (host.to_owned(), port + 1)
        };
        let group = group(Some(Arc::new(map)));
        slot.set(Arc::downgrade(&group)).unwrap();
        let asked = now();
        answer(&group, &[1, 2], 1, 7);
        assert_eq!(group.known_since(asked).unwrap().unwrap(), address(8));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn outcomes_of_unwatched_addresses_are_forgotten() {
        let group = group(None);
        for n in 1..1_000 {
            fails(&group, n, FailureKind::Unreachable);
        }
        group.watches([address(1), address(2)].into(), BTreeSet::new());
        assert_eq!(group.state().outcomes.len(), 2);
    }

    #[test]
    fn majority_counts_as_heard_for_five_seconds() {
        let group = group(None);
        assert!(!group.is_heard());
        answer(&group, &[1], 1, 7);
        assert!(!group.is_heard());
        let before = now();
        answer(&group, &[2], 1, 7);
        assert!(group.is_heard());
        let until = Duration::from_micros(group.heard_until.load(Ordering::Relaxed));
        assert!(until <= now() + FRESH && before < until);
        // As after a suspend of the machine: all sentinels are queried at once.
        group.heard_until.store(0, Ordering::Relaxed);
        let asked = group.questions.subscribe();
        assert!(!group.is_heard());
        let failure = group.unheard();
        assert!(failure.is_transient() && asked.has_changed().unwrap());
    }

    struct Retired(AtomicUsize, bool);

    impl Retire for Retired {
        fn retire(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(!self.1, "as it should");
        }
    }

    #[test]
    fn panic_while_retiring_spares_the_other_connections() {
        let group = group(None);
        let connections = [true, false].map(|panics| Arc::new(Retired(0.into(), panics)));
        for connection in &connections {
            let connection: Weak<Retired> = Arc::downgrade(connection);
            group.add(connection);
        }
        let switches = group.switches();
        answer(&group, &[1, 2], 1, 7);
        assert!(!switches.has_changed().unwrap());
        answer(&group, &[1, 2], 2, 8);
        assert!(switches.has_changed().unwrap());
        let retired = connections.map(|connection| connection.0.load(Ordering::Relaxed));
        assert_eq!(retired, [1, 1]);
    }
}
