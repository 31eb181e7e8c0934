//! Metrics, as a recorder sees them, against the counts of the tests.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use arbiter_lock::{Client, ClientBuilder, Error, FaultInjection, LostReason, NoopLogger, Testing};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use testkit::{Server, eventually, unique_name};
use tokio::time::{sleep, timeout};

use crate::cancellation::poll_times;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Values by metric and labels, as `metric{label=value,…}`. A histogram has the number of its
/// values, and their sum as `metric{…} sum`.
type Values = BTreeMap<String, f64>;

/// Takes the changes since the last snapshot of the series with that label `name`, or without one.
fn changes(snapshotter: &Snapshotter, name: Option<&str>) -> Values {
    let mut values = Values::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels = key.key().labels();
        let (of_name, others): (Vec<_>, Vec<_>) = labels.partition(|label| label.key() == "name");
        if of_name.first().map(|label| label.value()) != name {
            continue;
        }
        let others = others.iter();
        let mut others: Vec<_> = others
            .map(|l| format!("{}={}", l.key(), l.value()))
            .collect();
        others.sort_unstable();
        let series = format!("{}{{{}}}", key.key().name(), others.join(","));
        let number = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(times) => {
                let sum: f64 = times.iter().map(|time| time.into_inner()).sum();
                values.insert(format!("{series} sum"), sum);
                times.len() as f64
            }
        };
        values.insert(series, number);
    }
    values.retain(|series, value| *value != 0.0 || series.ends_with("sum"));
    values
}

/// Returns the sum of the series of a metric, of which each label has one of its values.
fn total(values: &Values, metric: &str) -> f64 {
    let of_it = |series: &str| series.starts_with(&format!("{metric}{{")) && series.ends_with('}');
    let found = values.iter().filter(|(series, _)| of_it(series));
    found.map(|(_, value)| value).sum()
}

fn builder(store: &str) -> ClientBuilder {
    Client::builder().store(store).logger(NoopLogger)
}

#[tokio::test(start_paused = true)]
async fn cycle_counts_grant_wait_and_hold() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    let waiting = client.lock("l");
    let waiting = tokio::spawn(async move { waiting.acquire().await.unwrap() });
    sleep(ms(400)).await;
    let values = changes(&seen, None);
    assert_eq!(values["arbiter_held{primitive=lock}"], 1.0);
    assert_eq!(values["arbiter_waiting{primitive=lock}"], 1.0);
    guard.release().await.unwrap();
    let guard = waiting.await.unwrap();
    let values = changes(&seen, None);
    assert_eq!(values["arbiter_handoffs_total{primitive=lock}"], 1.0);
    assert_eq!(values["arbiter_releases_total{primitive=lock}"], 1.0);
    assert_eq!(values["arbiter_hold_seconds{primitive=lock} sum"], 0.4);
    let granted = "{outcome=granted,primitive=lock}";
    assert_eq!(values[&format!("arbiter_acquires_total{granted}")], 1.0);
    assert_eq!(values[&format!("arbiter_wait_seconds{granted} sum")], 0.4);
    sleep(ms(10_500)).await;
    let values = changes(&seen, None);
    let renewed = "arbiter_renewals_total{outcome=renewed,primitive=lock}";
    // The first renewal claims the grant, which was pushed.
    assert_eq!(values[renewed], 2.0);
    assert_eq!(values["arbiter_renewal_seconds{outcome=answered}"], 2.0);
    client.testing().lose("l", LostReason::Taken);
    drop(guard);
    let values = changes(&seen, None);
    assert_eq!(
        values["arbiter_losses_total{primitive=lock,reason=taken}"],
        1.0
    );
    assert_eq!(values["arbiter_held{primitive=lock}"], -1.0);
}

#[tokio::test(start_paused = true)]
async fn each_primitive_has_its_label() {
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let client = Client::in_memory();
    drop(client.lock("l").acquire().await.unwrap());
    drop(client.rw_lock("rw").read().await.unwrap());
    drop(client.rw_lock("rw").write().await.unwrap());
    drop(client.semaphore("s", 2).acquire_many(2).await.unwrap());
    drop(client.election("e").campaign("v").await.unwrap());
    drop(client.once("o").every(ms(1_000)).begin().await.unwrap());
    drop(client.lock_all(["a", "b"]).acquire().await.unwrap());
    let session = client.session();
    let outer = session.lock("n").acquire().await.unwrap();
    drop((session.lock("n").acquire().await.unwrap(), outer));
    client.shutdown(ms(1_000)).await;
    let values = changes(&recorder.snapshotter(), None);
    for (primitive, count) in [
        ("lock", 4.0),
        ("rw_read", 1.0),
        ("rw_write", 1.0),
        ("semaphore", 1.0),
        ("election", 1.0),
        ("once", 1.0),
    ] {
        let granted = format!("arbiter_acquires_total{{outcome=granted,primitive={primitive}}}");
        assert_eq!(values[&granted], count, "{primitive}");
    }
    assert_eq!(total(&values, "arbiter_held"), 0.0);
    assert_eq!(total(&values, "arbiter_hold_seconds"), 9.0);
}

#[tokio::test(start_paused = true)]
async fn name_is_a_label_only_on_request() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let builder = builder("memory:").metrics_label(|name| match name {
        "panics" => panic!("on purpose"),
        name => name.starts_with("report:").then(|| "reports".into()),
    });
    let client = builder.connect().await.unwrap();
    for name in ["report:1", "report:2", "other", "panics"] {
        drop(client.lock(name).acquire().await.unwrap());
    }
    let granted = "arbiter_acquires_total{outcome=granted,primitive=lock}";
    assert_eq!(changes(&seen, Some("reports"))[granted], 2.0);
    drop(client.lock("report:1").acquire().await.unwrap());
    drop(client.lock("other").acquire().await.unwrap());
    assert_eq!(changes(&seen, None)[granted], 1.0);
}

#[tokio::test(start_paused = true)]
async fn gauges_are_zero_after_any_drop() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let client = Client::in_memory();
    let (mut granted, mut polls) = (0, 0);
    for times in 0..12 {
        let lock = client.lock("l");
        let free = poll_times(times, lock.acquire()).await.transpose().unwrap();
        granted += usize::from(free.is_some());
        drop(free);
        let held = lock.acquire().await.unwrap();
        assert!(poll_times(times, lock.acquire()).await.is_none());
        assert!(
            poll_times(times, lock.try_acquire())
                .await
                .is_none_or(|t| t.is_ok())
        );
        drop(poll_times(times, held.release()).await);
        let election = client.election("e");
        drop(poll_times(times, election.campaign("v")).await);
        let all = client.lock_all(["a", "b"]);
        drop(poll_times(times, all.acquire()).await);
        let lock = client.lock("r");
        drop(poll_times(times, lock.run(|_| sleep(ms(1)))).await);
        polls += 1;
    }
    let kept = client.lock("l").acquire().await.unwrap();
    client.shutdown(ms(100)).await;
    assert!(client.lock("l").acquire().await.is_err());
    drop((kept, client));
    let values = changes(&seen, None);
    assert_eq!(total(&values, "arbiter_held"), 0.0, "{values:?}");
    assert_eq!(total(&values, "arbiter_waiting"), 0.0, "{values:?}");
    let outcome = |outcome| {
        let series = values.iter().filter(|(series, _)| {
            series.starts_with("arbiter_acquires_total") && series.contains(outcome)
        });
        series.map(|(_, count)| count).sum::<f64>()
    };
    assert!(0 < granted && granted < polls);
    assert_eq!(
        outcome("outcome=granted"),
        total(&values, "arbiter_hold_seconds")
    );
    assert!(polls as f64 <= outcome("outcome=dropped"));
    assert_eq!(outcome("outcome=closed"), 1.0);
    let lost = "arbiter_losses_total{primitive=lock,reason=shutdown}";
    assert_eq!(values[lost], 1.0);
}

/// Panics at every call.
struct Panics;

impl Recorder for Panics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("on purpose")
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("on purpose")
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("on purpose")
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        panic!("on purpose")
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("on purpose")
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("on purpose")
    }
}

#[tokio::test(start_paused = true)]
async fn panicking_recorder_loses_no_hold() {
    let _recording = metrics::set_default_local_recorder(&Panics);
    let client = Client::in_memory();
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    sleep(ms(30_000)).await;
    assert!(guard.is_held(), "it is renewed");
    let waiting = lock.clone();
    let waiting = tokio::spawn(async move { waiting.acquire().await.unwrap() });
    sleep(ms(100)).await;
    drop(guard);
    waiting.await.unwrap().release().await.unwrap();
    assert!(!lock.inspect().await.unwrap().is_held());
}

/// The counts of a campaign's tasks.
#[derive(Default)]
struct Tally {
    acquires: BTreeMap<&'static str, f64>,
    losses: BTreeMap<String, f64>,
    /// Releases that were confirmed to the task.
    released: f64,
    /// Guards that were dropped, or whose release was.
    dropped: f64,
}

const ROUNDS: u32 = 25;

/// Holds the lock repeatedly, and ends each hold by a release, a drop or a loss.
async fn contend(client: Client, name: String, mut rng: StdRng, tally: Rc<RefCell<Tally>>) {
    for _ in 0..ROUNDS {
        let lock = client.lock(&name).lease_time(ms(1_000));
        let lock = match rng.random_range(0..4) {
            0 => lock.wait_timeout(Duration::ZERO),
            1 => lock.wait_timeout(ms(rng.random_range(1..800))),
            2 => lock.watchdog(false).max_hold(ms(40)),
            _ => lock,
        };
        let limit = ms([60_000, 60_000, 300][rng.random_range(0..3)]);
        let (outcome, guard) = match timeout(limit, lock.acquire()).await {
            Ok(Ok(guard)) => ("granted", Some(guard)),
            Ok(Err(Error::Contended(_))) => ("contended", None),
            Ok(Err(Error::Unavailable(_))) => ("unavailable", None),
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => ("dropped", None),
        };
        *tally.borrow_mut().acquires.entry(outcome).or_default() += 1.0;
        let Some(guard) = guard else {
            continue;
        };
        sleep(ms(rng.random_range(0..60))).await;
        let hold = guard.hold().clone();
        if rng.random_range(0..6) == 0 {
            client.testing().lose(&name, LostReason::Revoked);
        }
        let mut loss = None;
        match rng.random_range(0..3) {
            0 => {
                drop(guard);
                tally.borrow_mut().dropped += 1.0;
            }
            1 => {
                let released = timeout(ms(rng.random_range(0..3)), guard.release()).await;
                match released {
                    Ok(Ok(())) => tally.borrow_mut().released += 1.0,
                    Ok(Err(Error::Lost(lost))) => loss = Some(lost.reason),
                    _ => tally.borrow_mut().dropped += 1.0,
                }
            }
            _ => match guard.release().await {
                Ok(()) => tally.borrow_mut().released += 1.0,
                Err(Error::Lost(lost)) => loss = Some(lost.reason),
                Err(_) => tally.borrow_mut().dropped += 1.0,
            },
        }
        let over = hold.loss().map(|loss| loss.reason);
        let over = over.filter(|reason| *reason != LostReason::Released);
        if let Some(reason) = loss.or(over) {
            let mut tally = tally.borrow_mut();
            *tally.losses.entry(word(reason)).or_default() += 1.0;
        }
    }
}

fn word(reason: LostReason) -> String {
    let words = format!("{reason:?}");
    let mut snake = String::new();
    for (at, letter) in words.char_indices() {
        if at != 0 && letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// Runs tasks that contend for a name, and returns their counts.
async fn campaign(clients: &[Client], name: &str, seed: u64) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let tasks = tokio::task::LocalSet::new();
    for (number, client) in clients.iter().cycle().take(6).enumerate() {
        let rng = StdRng::seed_from_u64(seed + number as u64);
        let task = contend(client.clone(), name.to_owned(), rng, tally.clone());
        tasks.spawn_local(task);
    }
    tasks.await;
    Rc::into_inner(tally).unwrap().into_inner()
}

/// Asserts that the metrics equal the counts of the tasks.
#[track_caller]
fn assert_agrees(values: &Values, tally: &Tally) {
    for (outcome, count) in &tally.acquires {
        let labels = format!("{{outcome={outcome},primitive=lock}}");
        assert_eq!(values[&format!("arbiter_acquires_total{labels}")], *count);
        assert_eq!(values[&format!("arbiter_wait_seconds{labels}")], *count);
    }
    let all: f64 = tally.acquires.values().sum();
    assert_eq!(total(values, "arbiter_acquires_total"), all);
    for (reason, count) in &tally.losses {
        let series = format!("arbiter_losses_total{{primitive=lock,reason={reason}}}");
        assert_eq!(values.get(&series), Some(count), "{series}");
    }
    let lost: f64 = tally.losses.values().sum();
    assert_eq!(total(values, "arbiter_losses_total"), lost);
    assert_eq!(
        total(values, "arbiter_hold_seconds"),
        tally.acquires["granted"]
    );
    let released = total(values, "arbiter_releases_total");
    assert!(tally.released <= released && released <= tally.released + tally.dropped);
    assert_eq!(total(values, "arbiter_held"), 0.0);
    assert_eq!(total(values, "arbiter_waiting"), 0.0);
}

#[test]
fn metrics_agree_with_tasks_on_bad_network() {
    let (mut lost, mut unavailable) = (0.0, 0.0);
    for seed in 0..12 {
        let recorder = DebuggingRecorder::new();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let tally = runtime.block_on(async {
            Testing::seed(seed);
            let mut clients = Vec::new();
            for _ in 0..2 {
                let store = format!("memory:metrics-{seed}");
                let client = builder(&store).connect().await.unwrap();
                client.testing().inject_faults(FaultInjection {
                    lost: 60,
                    doubled: 30,
                    late: 100,
                    latest: ms(1_500),
                    ..FaultInjection::default()
                });
                clients.push(client);
            }
            let tally = campaign(&clients, "l", 100 * seed).await;
            clients[0].testing().stop_faults();
            sleep(ms(70_000)).await;
            tally
        });
        drop(runtime);
        assert_agrees(&changes(&recorder.snapshotter(), None), &tally);
        lost += tally.losses.values().sum::<f64>();
        unavailable += tally.acquires.get("unavailable").unwrap_or(&0.0);
    }
    assert!(20.0 < lost && 0.0 < unavailable, "{lost} {unavailable}");
}

/// On a server, the keeper and other clients of this process count too: the label selects.
#[tokio::test]
async fn metrics_agree_with_tasks_on_redis() {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    recorder.install().unwrap();
    let server = Server::start();
    let (name, url) = (unique_name(), server.url());
    let mut clients = Vec::new();
    for _ in 0..2 {
        let label = name.clone();
        let builder = builder(&url).metrics_label(move |_| Some(label.clone().into()));
        clients.push(builder.connect().await.unwrap());
    }
    let tally = campaign(&clients, &name, 7).await;
    for client in &clients {
        assert_eq!(client.shutdown(ms(10_000)).await, 0);
    }
    assert!(tally.losses.contains_key("revoked"), "{:?}", tally.losses);
    assert_agrees(&changes(&seen, Some(&name)), &tally);
    // A connection that is lost counts, and so does its replacement.
    let client = builder(&url).connect().await.unwrap();
    drop(client.lock(&name).acquire().await.unwrap());
    server.call(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let mut lost = Values::new();
    let is_lost = eventually(ms(5_000), || {
        lost.extend(changes(&seen, None));
        lost.contains_key("arbiter_disconnects_total{}")
    });
    assert!(is_lost, "{lost:?}");
    drop(client.lock(&name).acquire().await);
    lost.extend(changes(&seen, None));
    assert!(lost.contains_key("arbiter_reconnects_total{}"), "{lost:?}");
}
