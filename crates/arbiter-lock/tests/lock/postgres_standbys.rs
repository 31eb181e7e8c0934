//! Standbys of a PostgreSQL server: they are promoted, or do not answer.

use std::time::{Duration, Instant};

use arbiter_lock::Client;
use testkit::{Postgres, eventually, eventually_async, soak_time, unique_name};

use crate::acquire_and_release;
use crate::postgres_faults::{client, granted_in_order, ms, queue, sessions, under_load};
use crate::postgres_relay::{Relay, Spoil};

const LEASE: Duration = ms(5_000);

/// A primary and its standby.
struct Pair {
    primary: Postgres,
    standby: Postgres,
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::start();
        let standby = primary.standby("standby");
        Self { primary, standby }
    }

    /// Starts a pair whose commits wait for the standby.
    fn start_synchronous() -> Self {
        let pair = Self::start();
        pair.primary.set("synchronous_standby_names", "*");
        let is_synchronous = || {
            let state = "SELECT sync_state FROM pg_stat_replication";
            pair.primary.sql(state) == "sync"
        };
        assert!(eventually(ms(10_000), is_synchronous));
        pair
    }

    /// Returns a URL with both hosts, the primary first.
    fn url(&self) -> String {
        let (first, second) = (self.primary.port(), self.standby.port());
        format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres")
    }

    /// Waits until the standby has everything that the primary has written so far.
    fn fall_in_step(&self) {
        let at = self.primary.sql("SELECT pg_current_wal_insert_lsn()");
        let has_it = || {
            let has_it = format!("SELECT '{at}' <= pg_last_wal_replay_lsn()");
            self.standby.sql(&has_it) == "t"
        };
        // A release may not be flushed yet.
        let _ = self.primary.sql("SELECT pg_switch_wal()");
        assert!(eventually(ms(10_000), has_it));
    }

    fn fail_over(&mut self) {
        self.primary.kill();
        self.standby.promote();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoted_standby_keeps_hold_and_queue() {
    let mut pair = Pair::start();
    let (holder, other) = (client(&pair.url()).await, client(&pair.url()).await);
    let name = unique_name();
    let lock = holder.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let waiters = queue(&other.lock(&name), 2).await;
    tokio::task::block_in_place(|| {
        pair.fall_in_step();
        pair.fail_over();
    });
    tokio::time::sleep(LEASE).await;
    assert!(guard.is_held(), "it was renewed at the new primary");
    let fence = guard.fence();
    guard.release().await.unwrap();
    granted_in_order(waiters, fence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_old_primary_is_never_used() {
    let mut pair = Pair::start();
    let url = pair.url();
    let old = client(&url).await;
    let [name, free] = [unique_name(), unique_name()];
    acquire_and_release(&old.lock(&free)).await;
    tokio::task::block_in_place(|| {
        pair.fall_in_step();
        pair.fail_over();
    });
    let lock = old.lock(&name).wait_timeout(ms(10_000));
    let guard = lock.acquire().await.unwrap();
    tokio::task::block_in_place(|| pair.primary.restart());
    // Both are primaries. The sessions of clients end.
    for _ in 0..5 {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let _ = pair.standby.try_sql(end);
        let lock = old.lock(&name).wait_timeout(ms(500));
        assert!(lock.acquire().await.unwrap_err().is_contended());
        let new = client(&url).await;
        let tried = new.lock(&name).try_acquire().await.unwrap();
        assert!(
            tried.is_none(),
            "a new client does not know the old primary"
        );
    }
    // A client that has seen the new one waits for it.
    pair.standby.kill();
    let error = old.lock(&free).try_acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let error = old.lock(&free).wait_timeout(ms(1_500)).acquire().await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("timeline 2"), "{error}");
    drop(guard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_leave_a_primary_that_was_replaced() {
    let pair = Pair::start();
    // The first runtime never loses its session of the old primary.
    let shared = client(&pair.url()).await;
    let name = unique_name();
    acquire_and_release(&shared.lock(&name)).await;
    tokio::task::block_in_place(|| {
        pair.fall_in_step();
        pair.standby.promote();
    });
    let both = shared.clone();
    let of = name.clone();
    let second = std::thread::spawn(move || {
        let runtime = crate::one_worker();
        let guard = runtime.block_on(async { both.lock(&of).acquire().await.unwrap() });
        (runtime, guard)
    });
    let (runtime, guard) = second.join().unwrap();
    let tried = shared.lock(&name).try_acquire().await.unwrap();
    assert!(tried.is_none(), "it is held at the new primary");
    tokio::task::block_in_place(|| drop((guard, runtime)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn synchronous_standby_loses_no_grant() {
    let mut pair = Pair::start_synchronous();
    let urls = [(); 3].map(|()| pair.url());
    let keeper = client(&pair.url()).await;
    let lock = keeper.lock(&unique_name()).lease_time(ms(10_000));
    let guard = lock.acquire().await.unwrap();
    let end = Instant::now() + soak_time(ms(4_000));
    under_load(&urls, end, || {
        std::thread::sleep(ms(1_500));
        pair.fail_over();
    })
    .await;
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_synchronous_standby_piles_nothing_up() {
    let pair = Pair::start_synchronous();
    let one = client(&pair.primary.url()).await;
    let names = [unique_name(), unique_name()];
    for name in &names {
        acquire_and_release(&one.lock(name)).await;
    }
    let renewed = |name: &str| {
        let lock = one.lock(name).lease_time(ms(30_000));
        lock.watchdog_interval(ms(300))
    };
    let guard = renewed("kept").acquire().await.unwrap();
    let released = renewed("released").acquire().await.unwrap();
    pair.standby.stop();
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < ms(7_000) {
        for name in &names {
            let lock = one.lock(name).wait_timeout(ms(1_200));
            let error = lock.acquire().await.unwrap_err();
            assert!(error.is_unavailable() || error.is_contended(), "{error}");
        }
        most = most.max(sessions(&pair.primary));
    }
    println!("at most {most} sessions");
    assert!(most <= 4, "{most} sessions");
    // Its renewals do not end, and keep no lock of its row: a release needs no standby.
    drop(released);
    let is_free = || {
        let owner = "SELECT owner FROM arbiter.names WHERE name = 'arbiter:released'";
        pair.primary.sql(owner).is_empty()
    };
    assert!(eventually_async(ms(8_000), is_free).await);
    pair.standby.cont();
    assert!(guard.is_held());
    guard.refresh().await.unwrap();
    for name in &names {
        acquire_and_release(&one.lock(name).wait_timeout(ms(10_000))).await;
    }
    assert!(eventually(ms(5_000), || sessions(&pair.primary) <= 2));
}

/// Checks that no grant counts whose wait for the standby was canceled.
async fn canceled_wait_grants_nothing(pair: &Pair, url: &str) {
    let builder = Client::builder()
        .store(url)
        .logger(arbiter_lock::NoopLogger);
    // Longer than the test, so that no request times out.
    let client = builder.command_timeout(ms(20_000)).connect().await.unwrap();
    let lock = client.lock(&unique_name()).wait_timeout(ms(30_000));
    acquire_and_release(&lock).await;
    pair.standby.stop();
    let waiter = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    let mut canceled = 0;
    let begun = Instant::now();
    while canceled < 10 {
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
                      WHERE wait_event = 'SyncRep'";
        canceled += pair.primary.sql(cancel).parse::<u32>().unwrap();
        assert!(!waiter.is_finished(), "{:?}", waiter.await);
        assert!(begun.elapsed() < ms(20_000), "{canceled}");
        tokio::time::sleep(ms(50)).await;
    }
    pair.standby.cont();
    let guard = tokio::time::timeout(ms(20_000), waiter).await;
    let guard = guard.expect("a grant").unwrap().unwrap();
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canceled_wait_for_standby_grants_nothing() {
    let pair = Pair::start_synchronous();
    canceled_wait_grants_nothing(&pair, &pair.primary.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warning_in_another_language_grants_nothing() {
    let pair = Pair::start_synchronous();
    let relay = Relay::before(&pair.primary, Spoil::Language).await;
    canceled_wait_grants_nothing(&pair, &relay.url()).await;
}
