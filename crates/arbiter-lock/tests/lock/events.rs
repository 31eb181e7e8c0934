//! Every event there is, made to happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arbiter_lock::{Client, ClientBuilder, Event, Level, LostReason, Testing};
use testkit::{Proxy, Server, Traffic, eventually_async};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

type Kinds = BTreeMap<&'static str, Vec<(Level, String)>>;

/// What was told of each kind of event.
struct Told {
    kinds: Arc<Mutex<Kinds>>,
    testing: Testing,
}

/// A client, and what it tells.
async fn client(store: &str) -> (Client, Told) {
    client_of(Client::builder().store(store)).await
}

async fn client_of(builder: ClientBuilder) -> (Client, Told) {
    let kinds = Arc::default();
    let builder = builder.logger(logger(&kinds));
    let client = builder.connect().await.unwrap();
    let testing = client.testing();
    (client, Told { kinds, testing })
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
            Event::Lost { .. } => "lost",
            Event::LeftBehind { .. } => "left behind",
            Event::EndNotRecorded { .. } => "end not recorded",
            Event::Disconnected { .. } => "disconnected",
            Event::Reconnected { .. } => "reconnected",
            _ => "without a test",
        };
        let what = (event.level(), event.to_string());
        kinds.lock().unwrap().entry(kind).or_default().push(what);
    }
}

impl Told {
    /// What was told so far.
    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.testing.deliver_events();
        let kinds = self.kinds.lock().unwrap();
        assert_eq!(kinds.get("without a test"), None);
        kinds
    }

    /// The last of that kind says so.
    #[track_caller]
    fn has(&self, kind: &str, level: Level, texts: &[&str]) {
        let told = self.kinds();
        let last = told.get(kind).and_then(|told| told.last());
        let (at, text) = last.unwrap_or_else(|| panic!("nothing {kind}"));
        assert_eq!(*at, level, "{text}");
        for part in texts {
            assert!(text.contains(part), "{text}: no {part}");
        }
    }

    fn count(&self, kind: &str) -> usize {
        self.kinds().get(kind).map_or(0, Vec::len)
    }

    fn heard(&self, kind: &str) -> bool {
        0 < self.count(kind)
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_tells_of_its_grant_its_waiting_its_renewals_its_loss_and_its_end() {
    let (client, told) = client("memory:").await;
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    let fence = guard.fence().to_string();
    told.has("acquired", Level::Debug, &["'l'", &fence, "after 0ns"]);
    let waits = lock.clone().wait_timeout(ms(1_500)).acquire().await;
    assert!(waits.unwrap_err().is_contended());
    told.has(
        "waiting",
        Level::Info,
        &["'l'", "is held by", "queue was 1"],
    );
    told.has("renewed", Level::Debug, &["'l'", &fence]);
    guard.release().await.unwrap();
    told.has("released", Level::Debug, &["'l'", &fence]);

    let guard = lock.acquire().await.unwrap();
    let fence = guard.fence().to_string();
    client.testing().go_silent();
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    tokio::time::sleep(ms(10)).await;
    drop(guard);
    told.has(
        "renewal failed",
        Level::Warn,
        &["'l'", &fence, "no answer within"],
    );
    told.has("lost", Level::Error, &["'l'", &fence, "did not answer"]);
    assert!(!told.heard("left behind"));
    // Virtual time: until a lease and a minute later, and the last command's time.
    tokio::time::sleep(ms(62_000)).await;
    assert!(!told.heard("left behind"));
    tokio::time::sleep(ms(4_000)).await;
    told.has(
        "left behind",
        Level::Error,
        &["'l'", "by itself", "no answer within"],
    );
}

#[tokio::test(start_paused = true)]
async fn each_hold_that_ends_tells_once_whether_it_was_freed_or_lost() {
    let (client, told) = client("memory:").await;
    let lock = client.lock("l").lease_time(ms(3_000));
    let endings = [
        "drop",
        "drop, gone",
        "release, gone",
        "refresh, gone",
        "late",
    ];
    for ending in endings {
        let before = [told.count("released"), told.count("lost")];
        let guard = lock.acquire().await.unwrap();
        if ending.ends_with("gone") {
            client.testing().lapse("l");
        }
        match ending {
            "release, gone" => assert!(guard.release().await.unwrap_err().is_lost()),
            "refresh, gone" => assert!(guard.refresh().await.unwrap_err().is_lost()),
            "late" => {
                // Nobody has had a turn since, as after a stop of the whole process.
                tokio::time::advance(ms(3_000)).await;
                assert!(guard.release().await.unwrap_err().is_lost());
            }
            _ => drop(guard),
        }
        let told_of = || {
            [
                told.count("released") - before[0],
                told.count("lost") - before[1],
            ]
        };
        let expected = match ending {
            "drop" => [1, 0],
            // Let go of in time: no work was left unprotected.
            "drop, gone" => [0, 0],
            _ => [0, 1],
        };
        assert_eq!(told_of(), expected, "{ending}");
        tokio::time::sleep(ms(4_000)).await;
        assert_eq!(told_of(), expected, "{ending}, and a while later");
    }
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_renewal_is_no_news_after_the_release() {
    // The first renewal is sent after a second, and given up after two thirds of one.
    for (answered_after, released) in [(100, 1), (3_000, 0)] {
        let (client, told) = client("memory:").await;
        let lock = client.lock("l").lease_time(ms(3_000));
        let guard = lock.acquire().await.unwrap();
        tokio::time::sleep(ms(900)).await;
        client.testing().go_silent();
        tokio::time::sleep(ms(200)).await;
        drop(guard);
        tokio::time::sleep(ms(answered_after)).await;
        client.testing().answer();
        tokio::time::sleep(ms(2_000)).await;
        let counts = ["renewed", "renewal failed", "released", "lost"].map(|kind| told.count(kind));
        assert_eq!(counts, [0, 0, released, 0], "{answered_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_soon_and_not_in_a_rush() {
    let (client, told) = client("memory:").await;
    let lock = client.lock("l").lease_time(ms(6_000));
    let guard = lock.acquire().await.unwrap();
    client.testing().go_silent();
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    // The first is due after two seconds; each is given a third of what is left, and a tenth of
    // that passes before the next: without such pauses there would be 13.
    let failed = told.count("renewal failed");
    assert!((7..13).contains(&failed), "{failed}");
}

#[tokio::test]
async fn a_renewal_that_is_refused_at_once_is_not_tried_again_in_a_rush() {
    let server = Server::start();
    let (client, told) = client(&server.url()).await;
    let lock = client.lock("l").lease_time(ms(3_000));
    let guard = lock.acquire().await.unwrap();
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    // The first is due after a second; a tenth of what is left passes before the next, and 10 ms
    // at least.
    let failed = told.count("renewal failed");
    assert!((2..100).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_whose_last_look_was_cut_short_tells_who_held_and_one_in_a_silence_tells_of_it() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    // A look comes by chance within the silence, and before the end.
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

#[tokio::test(start_paused = true)]
async fn one_waits_for_its_own_client_only_where_that_holds_or_reads_the_same_name() {
    let store = "memory:waits-for-itself";
    let (client, told) = client(store).await;
    let other = Client::connect(store).await.unwrap();
    let taken = other.lock("taken").acquire().await.unwrap();
    let waiter = client.lock("taken").wait_timeout(ms(100));
    assert!(waiter.acquire().await.unwrap_err().is_contended());
    assert!(!told.heard("waits for its own client"));
    let mine = client.rw_lock("mine").read().await.unwrap();
    let theirs = other.rw_lock("theirs").read().await.unwrap();
    for (name, is_own) in [("theirs", false), ("mine", true)] {
        let writer = client.rw_lock(name).wait_timeout(ms(100));
        assert!(writer.write().await.unwrap_err().is_contended());
        assert_eq!(told.heard("waits for its own client"), is_own, "{name}");
    }
    drop((taken, mine, theirs));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_is_not_recorded_tells_of_it() {
    let (client, told) = client("memory:").await;
    let job = client.once("job").every(Duration::from_secs(60));
    let testing = client.testing();
    let ran = job.run(|_| async move {
        testing.go_silent();
        Ok::<(), arbiter_lock::Error>(())
    });
    let _ = ran.await;
    told.has(
        "end not recorded",
        Level::Warn,
        &["'job'", "no answer within"],
    );
}

#[tokio::test]
async fn a_connection_that_is_lost_is_told() {
    let mut server = Server::start();
    let (client, told) = client(&server.url()).await;
    let lock = client.lock("l").lease_time(ms(900));
    let guard = lock.acquire().await.unwrap();
    assert!(!told.heard("disconnected"));
    server.restart();
    assert!(eventually_async(ms(3_000), || told.heard("disconnected")).await);
    client.lock("l").inspect().await.unwrap();
    let store = "redis://127.0.0.1";
    told.has("disconnected", Level::Warn, &[store, "cannot be reached"]);
    told.has("reconnected", Level::Info, &[store]);
    assert_eq!(guard.lost().await, LostReason::Deleted);
}

#[tokio::test]
async fn a_connection_that_was_given_up_does_not_take_the_next_with_it() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let builder = Client::builder().store(&proxy.url());
    let (client, told) = client_of(builder.command_timeout(ms(200))).await;
    let lock = client.lock("l");
    proxy.set_traffic(Traffic::Silent);
    for _ in 0..3 {
        assert!(lock.inspect().await.unwrap_err().is_unavailable());
    }
    assert!(told.heard("disconnected"));
    proxy.set_traffic(Traffic::Flowing);
    let guard = lock.wait_timeout(ms(10_000)).acquire().await.unwrap();
    let lock = client.lock("l");
    for _ in 0..50 {
        lock.inspect().await.unwrap();
        tokio::time::sleep(ms(10)).await;
    }
    guard.release().await.unwrap();
    let counts = ["disconnected", "reconnected"].map(|kind| told.count(kind));
    assert_eq!(counts, [1, 1]);
}
