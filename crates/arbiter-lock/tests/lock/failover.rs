//! Another server takes over, with or without the last writes of the old one. A server's clock
//! steps.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, LostReason, NoopLogger};
use testkit::{Proxy, Server, WallClock, eventually, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const LEASE: Duration = ms(3_000);

async fn client(url: &str) -> Client {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await.unwrap()
}

/// A server, its replica, and a proxy in front of the server.
struct Pair {
    master: Server,
    replica: Server,
    proxy: Proxy,
}

impl Pair {
    fn start() -> Self {
        let start = || {
            let builder = Server::builder().arg("--repl-diskless-sync-delay");
            builder.arg("0").start()
        };
        let (master, replica) = (start(), start());
        replica.call(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        let proxy = Proxy::before(&master);
        let pair = Self {
            master,
            replica,
            proxy,
        };
        pair.fall_in_step();
        pair
    }

    /// Waits until the replica has everything that the master has written so far.
    fn fall_in_step(&self) {
        let mark = unique_name();
        self.master.call(&["SET", "mark", &mark]);
        let has_it = || self.replica.call(&["GET", "mark"]).text().as_ref() == Some(&mark);
        assert!(eventually(ms(15_000), has_it));
    }

    /// Makes the replica a master.
    fn promote(&self) {
        self.replica.call(&["REPLICAOF", "NO", "ONE"]);
    }

    /// Kills the master, and the replica takes its place.
    fn fail_over(&mut self) {
        self.master.kill();
        self.promote();
        self.proxy.lead_to(&self.replica);
    }

    /// Swaps the roles of the two servers. No connection ends.
    fn change_places(&self) {
        self.promote();
        let port = self.replica.port().to_string();
        self.master.call(&["REPLICAOF", "127.0.0.1", &port]);
        self.proxy.lead_to(&self.replica);
    }
}

#[tokio::test]
async fn lossless_failover_keeps_hold_and_queue_order() {
    let (mut pair, name) = (Pair::start(), unique_name());
    let client = client(&pair.proxy.url()).await;
    let lock = client.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let mut waiters = Vec::new();
    for place in 1..=3 {
        let waiter = lock.clone();
        waiters.push(tokio::spawn(async move { waiter.acquire().await }));
        while lock.inspect().await.unwrap().waiting < place {
            tokio::time::sleep(ms(10)).await;
        }
    }
    pair.fall_in_step();
    // A lost poll delays no grant.
    pair.fail_over();
    tokio::time::sleep(LEASE).await;
    assert!(guard.is_held(), "it has been renewed at the new server");
    let mut fence = guard.fence();
    guard.release().await.unwrap();
    for waiter in waiters {
        let next = tokio::time::timeout(ms(10_000), waiter).await;
        let next = next.expect("its turn").unwrap().unwrap();
        assert!(fence < next.fence());
        fence = next.fence();
        next.release().await.unwrap();
    }
}

#[tokio::test]
async fn demoted_server_is_left_for_the_new_master() {
    let (pair, name) = (Pair::start(), unique_name());
    let client = client(&pair.proxy.url()).await;
    let lock = client.lock(&name).lease_time(LEASE);
    let guard = lock.acquire().await.unwrap();
    let waiter = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    while lock.inspect().await.unwrap().waiting < 1 {
        tokio::time::sleep(ms(10)).await;
    }
    pair.fall_in_step();
    pair.change_places();
    tokio::time::sleep(LEASE).await;
    assert!(guard.is_held(), "it has been renewed at the new master");
    let fence = guard.fence();
    guard.release().await.unwrap();
    let next = tokio::time::timeout(ms(10_000), waiter).await;
    let next = next.expect("its turn").unwrap().unwrap();
    assert!(fence < next.fence());
    next.release().await.unwrap();
}

#[tokio::test]
async fn lossy_failover_notifies_holder_and_raises_fence() {
    let (mut pair, name) = (Pair::start(), unique_name());
    let client = client(&pair.proxy.url()).await;
    let lock = client.lock(&name).lease_time(LEASE);
    // The last fence exists on the replica, and the grant does not.
    lock.acquire().await.unwrap().release().await.unwrap();
    pair.fall_in_step();
    pair.promote();
    let before = lock.acquire().await.unwrap();
    pair.fail_over();
    let after = self::client(&pair.replica.url()).await;
    let after = after.lock(&name).acquire().await.unwrap();
    let begun = Instant::now();
    assert!(before.fence() < after.fence());
    let reason = before.lost().await;
    assert_eq!(reason, LostReason::Taken);
    assert!(begun.elapsed() < LEASE, "at its next renewal");
    assert!(after.is_held());
    after.release().await.unwrap();
}

#[tokio::test]
async fn forward_clock_step_ends_leases_and_notifies_holder() {
    let clock = WallClock::new();
    let (server, name) = (clock.rule(Server::builder()).start(), unique_name());
    let client = client(&server.url()).await;
    let lock = client
        .lock(&name)
        .lease_time(LEASE)
        .wait_timeout(ms(10_000));
    let before = lock.acquire().await.unwrap();
    // The step is shorter than the remaining lease: nothing has expired.
    clock.run_ahead_on(&server, 1_000_000);
    assert!(lock.try_acquire().await.unwrap().is_none());
    clock.run_ahead_on(&server, 1_000_000 + LEASE.as_micros() as i64);
    let after = lock.acquire().await.unwrap();
    let begun = Instant::now();
    assert!(before.fence() < after.fence());
    assert_eq!(before.lost().await, LostReason::Taken);
    assert!(begun.elapsed() < LEASE, "at its next renewal");
    assert!(after.is_held());
    after.release().await.unwrap();
}
