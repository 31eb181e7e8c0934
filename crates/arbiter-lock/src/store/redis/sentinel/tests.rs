use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use super::view::Master;
use super::*;
use crate::NoopLogger;
use crate::store::FailureKind;

fn address(port: u16) -> Address {
    ("127.0.0.1".to_owned(), port)
}

fn group(map: Option<AddressMap>) -> Arc<Sentinels> {
    let url = SentinelUrl::parse("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/m");
    let (url, _) = url.unwrap().unwrap();
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
            down_after: None,
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
fn wrong_server_beside_a_sentinel_is_transient() {
    let group = group(None);
    let asked = now();
    answer(&group, &[1], 1, 7);
    fails(&group, 2, FailureKind::WrongUrl);
    fails(&group, 3, FailureKind::WrongUrl);
    assert!(group.failure(asked).is_transient());
}

#[test]
fn refusals_of_one_sentinel_are_not_a_majority() {
    let url = SentinelUrl::parse("redis+sentinel://a:1,b:1,c:1/m");
    let (url, _) = url.unwrap().unwrap();
    let events = EventQueue::new(Box::new(NoopLogger));
    let group = Sentinels::new(url, None, Duration::from_secs(1), events);
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
        down_after: None,
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
