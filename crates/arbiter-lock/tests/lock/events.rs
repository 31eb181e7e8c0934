//! Every event, with a test that causes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arbiter_lock::{Client, ClientBuilder, Error, Event, HeldBy, Level, LostReason, Testing};
use testkit::{Proxy, Server, Traffic, eventually_async};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

type Kinds = BTreeMap<&'static str, Vec<(Level, String)>>;

/// The events logged so far, by kind.
struct EventLog {
    kinds: Arc<Mutex<Kinds>>,
    testing: Testing,
}

/// Connects a client and records its events.
async fn client(store: &str) -> (Client, EventLog) {
    client_of(Client::builder().store(store)).await
}

async fn client_of(builder: ClientBuilder) -> (Client, EventLog) {
    let kinds = Arc::default();
    let builder = builder.logger(logger(&kinds));
    let client = builder.connect().await.unwrap();
    let testing = client.testing();
    (client, EventLog { kinds, testing })
}

fn logger(kinds: &Arc<Mutex<Kinds>>) -> impl Fn(&Event) + Send + Sync + 'static {
    let kinds = kinds.clone();
    move |event| {
        let kind = match event {
            Event::Acquired { .. } => "acquired",
            Event::Waiting(_) => "waiting",
            Event::WaitsForOwnClient { .. } => "waits for its own client",
            Event::Released { .. } => "released",
            Event::Renewed { .. } => "renewed",
            Event::RenewalFailed { .. } => "renewal failed",
            Event::RenewalsLate { .. } => "renewals late",
            Event::Lost { .. } => "lost",
            Event::LeftBehind { .. } => "left behind",
            Event::EndNotRecorded { .. } => "end not recorded",
            Event::Disconnected { .. } => "disconnected",
            Event::Reconnected { .. } => "reconnected",
            Event::NotServed { .. } => "not served",
            _ => "without a test",
        };
        let what = (event.level(), event.to_string());
        kinds.lock().unwrap().entry(kind).or_default().push(what);
    }
}

impl EventLog {
    /// Returns the events logged so far.
    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.testing.deliver_events();
        let kinds = self.kinds.lock().unwrap();
        assert_eq!(kinds.get("without a test"), None);
        kinds
    }

    /// Asserts that the last event of that kind contains the texts.
    #[track_caller]
    fn has(&self, kind: &str, level: Level, texts: &[&str]) {
        let kinds = self.kinds();
        let last = kinds.get(kind).and_then(|events| events.last());
        let (at, text) = last.unwrap_or_else(|| panic!("nothing {kind}"));
        assert_eq!(*at, level, "{text}");
        for part in texts {
            assert!(text.contains(part), "{text}: no {part}");
        }
    }

    fn count(&self, kind: &str) -> usize {
        self.kinds().get(kind).map_or(0, Vec::len)
    }

    fn contains(&self, kind: &str) -> bool {
        0 < self.count(kind)
    }
}

#[tokio::test(start_paused = true)]
async fn events_carry_owner_and_time_held() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let logged = ends.clone();
    let logger = move |event: &Event| {
        let end = match event {
            Event::Released { owner, held, .. } => ("released", owner.to_string(), *held),
            Event::Lost { owner, held, .. } => ("lost", owner.to_string(), *held),
            _ => return,
        };
        logged.lock().unwrap().push(end);
    };
    let builder = Client::builder().store("memory:").logger(logger);
    let client = builder.connect().await.unwrap();
    let lock = client.lock("l").lease_time(ms(3_000));
    let mut expected = Vec::new();
    for (held, is_dropped) in [(ms(200), false), (ms(4_000), true)] {
        let guard = lock.acquire().await.unwrap();
        expected.push(("released", guard.owner().to_owned(), held));
        tokio::time::sleep(held).await;
        if is_dropped {
            drop(guard);
        } else {
            guard.release().await.unwrap();
        }
    }
    // Lost at its deadline, and noticed later: this task is the first to check.
    let guard = lock.watchdog(false).acquire().await.unwrap();
    let deadline = guard.remaining();
    expected.push(("lost", guard.owner().to_owned(), deadline));
    tokio::time::advance(ms(9_000)).await;
    drop(guard);
    client.testing().deliver_events();
    assert_eq!(*ends.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn lock_logs_each_event_of_its_hold() {
    let (client, log) = client("memory:").await;
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    let fence = guard.fence().to_string();
    log.has("acquired", Level::Debug, &["'l'", &fence, "after 0 ms"]);
    let waits = lock.clone().wait_timeout(ms(1_500)).acquire().await;
    assert!(waits.unwrap_err().is_contended());
    log.has(
        "waiting",
        Level::Info,
        &["'l'", "is held by", "queue was 1"],
    );
    log.has("renewed", Level::Debug, &["'l'", &fence]);
    guard.release().await.unwrap();
    log.has("released", Level::Debug, &["'l'", &fence]);

    let guard = lock.acquire().await.unwrap();
    let fence = guard.fence().to_string();
    client.testing().go_silent();
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    tokio::time::sleep(ms(10)).await;
    drop(guard);
    log.has(
        "renewal failed",
        Level::Warn,
        &["'l'", &fence, "no answer within"],
    );
    log.has("lost", Level::Error, &["'l'", &fence, "did not answer"]);
    assert!(!log.contains("left behind"));
    // On virtual time: a lease and a minute pass, and the last command's time.
    tokio::time::sleep(ms(62_000)).await;
    assert!(!log.contains("left behind"));
    tokio::time::sleep(ms(4_000)).await;
    log.has(
        "left behind",
        Level::Error,
        &["'l'", "by itself", "no answer within"],
    );
}

#[tokio::test(start_paused = true)]
async fn each_hold_logs_one_release_or_loss() {
    let (client, log) = client("memory:").await;
    let lock = client.lock("l").lease_time(ms(3_000));
    let endings = [
        "drop",
        "drop, gone",
        "release, gone",
        "refresh, gone",
        "late",
    ];
    for ending in endings {
        let before = [log.count("released"), log.count("lost")];
        let guard = lock.acquire().await.unwrap();
        if ending.ends_with("gone") {
            assert!(client.testing().expire("l"));
        }
        match ending {
            "release, gone" => assert!(guard.release().await.unwrap_err().is_lost()),
            "refresh, gone" => assert!(guard.refresh().await.unwrap_err().is_lost()),
            "late" => {
                // No task has run since, as after a stop of the whole process.
                tokio::time::advance(ms(3_000)).await;
                assert!(guard.release().await.unwrap_err().is_lost());
            }
            _ => drop(guard),
        }
        let told_of = || {
            [
                log.count("released") - before[0],
                log.count("lost") - before[1],
            ]
        };
        let expected = match ending {
            "drop" => [1, 0],
            // The guard was dropped in time: no work was left unprotected.
            "drop, gone" => [0, 0],
            _ => [0, 1],
        };
        assert_eq!(told_of(), expected, "{ending}");
        tokio::time::sleep(ms(4_000)).await;
        assert_eq!(told_of(), expected, "{ending}, and a while later");
    }
}

#[tokio::test(start_paused = true)]
async fn renewal_logs_nothing_after_the_release() {
    // The first renewal is sent after one second, and fails after two thirds of a second.
    for (answered_after, released) in [(100, 1), (3_000, 0)] {
        let (client, log) = client("memory:").await;
        let lock = client.lock("l").lease_time(ms(3_000));
        let guard = lock.acquire().await.unwrap();
        tokio::time::sleep(ms(900)).await;
        client.testing().go_silent();
        tokio::time::sleep(ms(200)).await;
        drop(guard);
        tokio::time::sleep(ms(answered_after)).await;
        client.testing().answer();
        tokio::time::sleep(ms(2_000)).await;
        let counts = ["renewed", "renewal failed", "released", "lost"].map(|kind| log.count(kind));
        assert_eq!(counts, [0, 0, released, 0], "{answered_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn unanswered_renewal_is_retried_a_few_times() {
    let (client, log) = client("memory:").await;
    let lock = client.lock("l").lease_time(ms(6_000));
    let guard = lock.acquire().await.unwrap();
    client.testing().go_silent();
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    // The first renewal is due after two seconds. Each has one second, and is repeated after a
    // third of the remaining time.
    let failed = log.count("renewal failed");
    assert!((3..10).contains(&failed), "{failed}");
}

#[tokio::test]
async fn refused_renewal_is_retried_without_a_rush() {
    let server = Server::start();
    let (client, log) = client(&server.url()).await;
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(guard.lost().await, LostReason::NotRenewed);
    // The first renewal is due after one second. The next follows after a tenth of the remaining
    // time, and after at least 10 ms.
    let failed = log.count("renewal failed");
    assert!((2..100).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn wait_error_distinguishes_contention_from_silence() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    // A poll falls into the silence at random, before the wait ends.
    let cut_short = std::iter::repeat_n((901, 1_000, true), 20);
    for (silent_from, limit, is_contended) in cut_short.chain([(500, 1_600, false)]) {
        let lock = client.lock("l").wait_timeout(ms(limit));
        let (error, ()) = tokio::join!(lock.acquire(), async {
            tokio::time::sleep(ms(silent_from)).await;
            client.testing().go_silent();
        });
        let error = error.unwrap_err();
        assert_eq!(error.is_contended(), is_contended, "{error}");
        assert_eq!(error.is_unavailable(), !is_contended, "{error}");
        client.testing().answer();
    }
    guard.release().await.unwrap();
}

const OWN: &str = "waits for its own client";

#[tokio::test(start_paused = true)]
async fn nested_acquire_is_reported_after_30_seconds() {
    let (client, log) = client("memory:").await;
    let lock = client.lock("l");
    let outer = lock.acquire().await.unwrap();
    let inner = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(29_900)).await;
    assert!(!log.contains(OWN));
    tokio::time::sleep(ms(1_500)).await;
    log.has(OWN, Level::Warn, &["'l'", "this client holds", "a session"]);
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(log.count(OWN), 1);
    // The wait continues.
    outer.release().await.unwrap();
    inner.await.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_lasting_holds_of_own_client_are_reported() {
    let store = "memory:waits-for-itself";
    let (client, log) = client(store).await;
    let other = Client::connect(store).await.unwrap();
    // Several tasks of the client, each of which holds for a while.
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let lock = client.lock("crowd");
        crowd.spawn(async move {
            let guard = lock.acquire().await.unwrap();
            tokio::time::sleep(ms(20_000)).await;
            guard.release().await.unwrap();
        });
    }
    crowd.join_all().await;
    assert!(!log.contains(OWN));
    let taken = other.lock("taken").acquire().await.unwrap();
    let mine = client.rw_lock("mine").read().await.unwrap();
    let theirs = other.rw_lock("theirs").read().await.unwrap();
    let permits = client.semaphore("permits", 1);
    let permit = permits.acquire().await.unwrap();
    let limit = ms(32_000);
    let waits = [
        client.lock("taken").wait_timeout(limit).acquire().await,
        client.rw_lock("theirs").wait_timeout(limit).write().await,
        permits.wait_timeout(limit).acquire().await,
    ];
    assert!(
        waits
            .into_iter()
            .all(|wait| wait.unwrap_err().is_contended())
    );
    assert!(!log.contains(OWN));
    let writer = client.rw_lock("mine").wait_timeout(limit).write().await;
    assert!(writer.unwrap_err().is_contended());
    log.has(OWN, Level::Warn, &["'mine'"]);
    drop((taken, mine, theirs, permit));
}

#[tokio::test(start_paused = true)]
async fn contended_names_the_own_client_or_session() {
    let store = "memory:whose-hold";
    let (client, other) = (
        Client::connect(store).await.unwrap(),
        Client::connect(store).await.unwrap(),
    );
    let held_by = |error: Error| match error {
        Error::Contended(contended) => (contended.held_by, contended.to_string()),
        error => panic!("{error}"),
    };
    let session = client.session();
    let lock = session.lock("l").max_hold(ms(500)).lease_time(ms(10_000));
    let guard = lock.acquire().await.unwrap();
    let own = client.lock("l").wait_timeout(ms(100)).acquire().await;
    let (by, words) = held_by(own.unwrap_err());
    assert_eq!(by, HeldBy::ThisClient);
    assert!(words.contains("nested locking needs a session"), "{words}");
    let theirs = other.lock("l").wait_timeout(ms(100)).acquire().await;
    let (by, words) = held_by(theirs.unwrap_err());
    assert_eq!(by, HeldBy::Other);
    assert!(!words.contains("session"), "{words}");
    assert_eq!(guard.lost().await, LostReason::MaxHold);
    for limit in [0, 100] {
        let again = lock.clone().wait_timeout(ms(limit)).acquire().await;
        let (by, words) = held_by(again.unwrap_err());
        assert_eq!(by, HeldBy::ThisSession);
        assert!(words.contains("drop its guards"), "{words}");
    }
    drop(guard);
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unrecorded_end_of_a_run_is_logged() {
    let (client, log) = client("memory:").await;
    let job = client.once("job").every(Duration::from_secs(60));
    let testing = client.testing();
    let ran = job.run(|_| async move {
        testing.go_silent();
        Ok::<(), arbiter_lock::Error>(())
    });
    let _ = ran.await;
    log.has(
        "end not recorded",
        Level::Warn,
        &["'job'", "no answer within"],
    );
}

#[tokio::test]
async fn lost_connection_is_logged() {
    let mut server = Server::start();
    let (client, log) = client(&server.url()).await;
    let lock = client.lock("l").lease_time(ms(900));
    let guard = lock.acquire().await.unwrap();
    assert!(!log.contains("disconnected"));
    server.restart();
    assert!(eventually_async(ms(3_000), || log.contains("disconnected")).await);
    // The keeper noticed the loss. The caller's own connection may still seem healthy.
    while client.lock("l").inspect().await.is_err() {
        tokio::time::sleep(ms(10)).await;
    }
    let store = "redis://127.0.0.1";
    log.has("disconnected", Level::Warn, &[store, "cannot be reached"]);
    log.has("reconnected", Level::Info, &[store]);
    assert_eq!(guard.lost().await, LostReason::Deleted);
}

#[tokio::test]
async fn abandoned_connection_does_not_end_its_successor() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let builder = Client::builder().store(&proxy.url());
    let (client, log) = client_of(builder.command_timeout(ms(200))).await;
    let lock = client.lock("l");
    proxy.set_traffic(Traffic::Silent);
    for _ in 0..3 {
        assert!(lock.inspect().await.unwrap_err().is_unavailable());
    }
    assert!(log.contains("disconnected"));
    proxy.set_traffic(Traffic::Flowing);
    let guard = lock.wait_timeout(ms(10_000)).acquire().await.unwrap();
    let lock = client.lock("l");
    for _ in 0..50 {
        lock.inspect().await.unwrap();
        tokio::time::sleep(ms(10)).await;
    }
    guard.release().await.unwrap();
    let counts = ["disconnected", "reconnected"].map(|kind| log.count(kind));
    assert_eq!(counts, [1, 1]);
}
