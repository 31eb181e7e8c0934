//! The cost of each operation in server commands. The counts do not vary, so a regression shows.

use std::collections::BTreeMap;
use std::time::Duration;

use arbiter_lock::Client;
use testkit::{Server, unique_name};

use crate::in_line;

pub(crate) type Counts = BTreeMap<String, u64>;

/// Returns the commands that the server has executed, including those within scripts.
pub(crate) fn counts(server: &Server) -> Counts {
    let stats = server.call(&["INFO", "commandstats"]).text().unwrap();
    let of_line = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split(',').next()?.parse().ok()?;
        Some((command.to_owned(), calls))
    };
    let mut counts: Counts = stats.lines().filter_map(of_line).collect();
    counts.remove("info");
    counts
}

/// Returns the counts once all sent commands are done.
async fn counts_at_rest(server: &Server) -> Counts {
    let mut before = counts(server);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let after = counts(server);
        if before == after {
            return after;
        }
        before = after;
    }
    panic!("it is never at rest: {before:?}");
}

/// Returns the commands executed by an operation.
pub(crate) async fn cost_of<T>(server: &Server, work: impl Future<Output = T>) -> (T, Counts) {
    let before = counts_at_rest(server).await;
    let done = work.await;
    let mut after = counts(server);
    for (command, calls) in &mut after {
        *calls -= before.get(command).copied().unwrap_or_default();
    }
    after.retain(|_, calls| 0 < *calls);
    (done, after)
}

pub(crate) fn these(commands: &[(&str, u64)]) -> Counts {
    let owned = commands
        .iter()
        .map(|(word, calls)| ((*word).to_owned(), *calls));
    owned.collect()
}

/// Connects a client whose scripts are loaded on the server.
async fn warm(server: &Server) -> Client {
    // With many clients, a reply may be slow.
    let builder = Client::builder().store(&server.url());
    let client = builder.command_timeout(Duration::from_secs(10));
    let client = client.connect().await.unwrap();
    let guard = client.lock(&unique_name()).acquire().await.unwrap();
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
    client
}

fn second(server: &Server) -> String {
    server.call(&["TIME"]).texts().swap_remove(0)
}

#[tokio::test]
async fn uncontended_cycle_is_two_calls_of_eight_commands() {
    let server = Server::start();
    let lock = warm(&server).await.lock(&unique_name());
    let (guard, mut acquire) = cost_of(&server, lock.acquire()).await;
    assert_eq!(acquire.remove("pexpireat"), Some(1), "the first fence");
    assert_eq!(
        acquire,
        these(&[
            ("evalsha", 1),
            ("exists", 1),
            ("hset", 1),
            ("pexpire", 1),
            ("set", 1),
            ("time", 1),
        ])
    );
    let (released, release) = cost_of(&server, guard.unwrap().release()).await;
    released.unwrap();
    assert_eq!(
        release,
        these(&[("del", 1), ("evalsha", 1), ("exists", 1), ("hmget", 1)])
    );
}

#[tokio::test]
async fn last_fence_ttl_is_extended_once_per_second() {
    let server = Server::start();
    let lock = warm(&server).await.lock(&unique_name());
    loop {
        let begun = second(&server);
        lock.acquire().await.unwrap().release().await.unwrap();
        let (guard, acquire) = cost_of(&server, lock.acquire()).await;
        guard.unwrap().release().await.unwrap();
        if second(&server) == begun {
            assert_eq!(acquire.get("pexpireat"), None);
            break;
        }
    }
    let last = second(&server);
    while second(&server) == last {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_guard, acquire) = cost_of(&server, lock.acquire()).await;
    assert_eq!(acquire.get("pexpireat"), Some(&1));
}

#[tokio::test]
async fn renewal_is_one_call_of_four_commands() {
    let server = Server::start();
    let guard = warm(&server)
        .await
        .lock(&unique_name())
        .acquire()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let (refreshed, refresh) = cost_of(&server, guard.refresh()).await;
    refreshed.unwrap();
    assert_eq!(
        refresh,
        these(&[
            ("evalsha", 1),
            ("hmget", 1),
            ("pexpire", 1),
            ("pttl", 1),
            ("time", 1),
        ])
    );
}

/// Returns the commands of a release that grants the next of that many waiters, none of which polls
/// meanwhile.
async fn cost_of_hand_off(waiters: usize) -> Counts {
    let server = Server::start();
    let name = unique_name();
    let lock = warm(&server).await.lock(&name);
    let guard = lock.acquire().await.unwrap();
    let crowd = Client::connect(&server.url()).await.unwrap().lock(&name);
    let _waiting = in_line(&lock, waiters, || crowd.acquire()).await;
    let (released, mut cost) = cost_of(&server, guard.release()).await;
    released.unwrap();
    cost.remove("pexpireat"); // once a second
    cost
}

#[tokio::test]
async fn release_cost_is_independent_of_waiter_count() {
    let with_one = cost_of_hand_off(1).await;
    assert_eq!(with_one.get("evalsha"), Some(&1), "{with_one:?}");
    assert!(with_one.values().sum::<u64>() <= 17, "{with_one:?}");
    assert_eq!(cost_of_hand_off(100).await, with_one);
    assert_eq!(cost_of_hand_off(1_000).await, with_one);
}

#[tokio::test]
async fn queueing_cost_is_independent_of_queue_length() {
    let mut costs = Vec::new();
    for others in [1, 1_000] {
        let server = Server::start();
        let lock = warm(&server).await.lock(&unique_name());
        let _guard = lock.acquire().await.unwrap();
        let _waiting = in_line(&lock, others, || lock.acquire()).await;
        let mut one_more = Box::pin(lock.acquire());
        let queued = tokio::time::timeout(Duration::from_millis(300), &mut one_more);
        let (waited, cost) = cost_of(&server, queued).await;
        assert!(waited.is_err());
        costs.push(
            ["zadd", "zcount", "zmscore", "hmget", "pttl"].map(|word| cost.get(word).copied()),
        );
    }
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn many_expiries_in_a_row_cost_few_polls() {
    const CROWD: u32 = 60;
    let server = Server::start();
    let (client, name) = (warm(&server).await, unique_name());
    let mut dead = Vec::new();
    for n in 0..CROWD {
        let lease = Duration::from_millis(1_500 + 4 * u64::from(n));
        let permits = client.semaphore(&name, CROWD).lease_time(lease);
        dead.push(permits.watchdog(false).acquire().await.unwrap());
    }
    let before = counts(&server);
    let _writer = client.rw_lock(&name).write().await.unwrap();
    let calls = counts(&server)["evalsha"] - before["evalsha"];
    // One poll per 20 ms of the 236 ms in which they expire, and the regular ones.
    assert!(calls <= 25, "{calls} calls");
}

#[tokio::test]
async fn behind_renewed_permits_waiters_poll_once_a_second() {
    let server = Server::start();
    let (client, name) = (warm(&server).await, unique_name());
    let permits = client.semaphore(&name, 3);
    let permits = permits.lease_time(Duration::from_secs(6));
    let _held = [permits.acquire().await, permits.acquire().await];
    let _last = permits.acquire().await;
    let before = counts(&server);
    let waiting = std::iter::repeat_with(|| permits.acquire()).take(6);
    let waiting = futures_util::future::join_all(waiting);
    let waited = tokio::time::timeout(Duration::from_secs(3), waiting).await;
    assert!(waited.is_err(), "all are held");
    let calls = counts(&server)["evalsha"] - before["evalsha"];
    // Each polls at most four times, with the first poll, the renewals and the ends.
    assert!(calls <= 6 * 4 + 3 + 6, "{calls} calls");
}
