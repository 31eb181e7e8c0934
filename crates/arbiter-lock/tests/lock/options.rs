//! Options, events, sessions and shutting down, on the memory store and on paused time.

use std::sync::Arc;
use std::time::Duration;

use arbiter_lock::{Asked, Client, Error, LostReason, block_on};
use tokio::time::Instant;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn what(error: Error) -> &'static str {
    match error {
        Error::Invalid(invalid) => invalid.what,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_with_its_range() {
    let client = Client::in_memory();
    client.testing().go_silent();
    let begun = Instant::now();
    let lock = client.lock("l");
    let bad = [
        (client.lock(""), "name", "1 to 512"),
        (client.lock(&"x".repeat(513)), "name", "1 to 512"),
        (
            lock.clone().lease_time(Duration::ZERO),
            "lease_time",
            "100 ms",
        ),
        (
            lock.clone().lease_time(Duration::from_nanos(1)),
            "lease_time",
            "100 ms",
        ),
        (
            lock.clone().lease_time(Duration::from_micros(99_999)),
            "lease_time",
            "100 ms",
        ),
        (
            lock.clone().lease_time(Duration::MAX),
            "lease_time",
            "365 days",
        ),
        (
            lock.clone()
                .lease_time(Duration::from_secs(365 * 86_400 + 1)),
            "lease_time",
            "365 days",
        ),
        (
            lock.clone().watchdog_interval(ms(15_001)),
            "watchdog_interval",
            "half the lease",
        ),
        (
            lock.clone().watchdog_interval(Duration::ZERO),
            "watchdog_interval",
            "1 ms",
        ),
        (
            lock.clone().lost_margin(ms(15_001)),
            "lost_margin",
            "half the lease",
        ),
        (lock.clone().lost_margin(ms(1)), "lost_margin", "2 ms"),
        (lock.clone().max_hold(Duration::ZERO), "max_hold", "0"),
        (lock.clone().label(&"x".repeat(257)), "label", "256"),
    ];
    for (lock, field, range) in bad {
        let error = lock.acquire().await.unwrap_err();
        assert!(error.to_string().contains(range), "{error}");
        assert_eq!(what(error), field);
        assert_eq!(what(lock.try_acquire().await.unwrap_err()), field);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn absurd_waits_and_leases_at_their_limits_work() {
    let client = Client::in_memory();
    let lock = client
        .lock("l")
        .wait_timeout(Duration::MAX)
        .lease_time(Duration::from_secs(365 * 86_400));
    let guard = lock.acquire().await.unwrap();
    let short = client.lock("m").lease_time(ms(100)).max_hold(Duration::MAX);
    let other = short.acquire().await.unwrap();
    tokio::time::sleep(ms(1_000)).await;
    assert!(guard.is_held() && other.is_held());
    let waiter = client.lock("l").wait_timeout(Duration::from_nanos(1));
    assert!(!matches!(
        waiter.acquire().await,
        Ok(_) | Err(Error::Invalid(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn max_hold_ends_a_renewed_hold() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .lease_time(ms(500))
        .max_hold(ms(1_700))
        .acquire()
        .await
        .unwrap();
    let begun = Instant::now();
    assert_eq!(guard.lost().await, LostReason::MaxHold);
    assert!(ms(1_700) <= begun.elapsed() && begun.elapsed() <= ms(1_710));
    drop(guard);
    assert!(client.lock("l").try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn refresh_extends_a_hold_without_watchdog() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .lease_time(ms(1_000))
        .watchdog(false)
        .acquire()
        .await
        .unwrap();
    for _ in 0..5 {
        tokio::time::sleep(ms(800)).await;
        guard.refresh().await.unwrap();
    }
    assert!(ms(900) < guard.remaining());
    assert!(client.testing().expire("l"));
    assert!(guard.refresh().await.unwrap_err().is_lost());
    assert_eq!(guard.lost().await, LostReason::Deleted);
}

#[tokio::test(start_paused = true)]
async fn grant_is_claimed_without_the_watchdog() {
    let client = Client::in_memory();
    let first = client.lock("l").acquire().await.unwrap();
    let lock = client.lock("l").watchdog(false).lease_time(ms(10_000));
    let waiter = tokio::spawn(async move { lock.acquire().await.unwrap() });
    tokio::time::sleep(ms(10)).await;
    first.release().await.unwrap();
    let second = waiter.await.unwrap();
    tokio::time::sleep(ms(9_000)).await;
    assert!(second.is_held());
    assert_eq!(second.lost().await, LostReason::Expired);
}

#[tokio::test(start_paused = true)]
async fn large_margin_claims_the_grant_before_returning() {
    let client = Client::in_memory();
    let first = client.lock("l").acquire().await.unwrap();
    let lock = client.lock("l").lost_margin(ms(6_000));
    let waiter = tokio::spawn(async move { lock.acquire().await.unwrap() });
    tokio::time::sleep(ms(10)).await;
    first.release().await.unwrap();
    let second = waiter.await.unwrap();
    assert!(ms(23_000) < second.remaining(), "{:?}", second.remaining());
}

#[tokio::test(start_paused = true)]
async fn hold_is_lost_its_margin_before_expiry() {
    let client = Client::in_memory();
    let lock = client
        .lock("l")
        .lease_time(ms(10_000))
        .lost_margin(ms(4_000))
        .watchdog(false);
    let guard = lock.acquire().await.unwrap();
    let begun = Instant::now();
    guard.lost().await;
    assert!(begun.elapsed() <= ms(6_001), "{:?}", begun.elapsed());
    let status = client.lock("l").inspect().await.unwrap();
    assert!(status.is_held(), "the store still keeps others out");
}

#[tokio::test(start_paused = true)]
async fn asked_holder_stops_before_the_next_grant() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .lease_time(ms(3_000))
        .acquire()
        .await
        .unwrap();
    let next = tokio::spawn({
        let lock = client.lock("l");
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(10)).await;
    let lock = client.lock("l");
    assert_eq!(
        lock.ask_to_stop(guard.fence() + 1).await.unwrap(),
        Asked::NotHeld
    );
    assert!(matches!(
        lock.ask_to_stop(guard.fence()).await.unwrap(),
        Asked::Notified { .. }
    ));
    assert_eq!(guard.lost().await, LostReason::Revoked);
    tokio::time::sleep(ms(500)).await;
    assert!(!next.is_finished());
    drop(guard);
    drop(tokio::time::timeout(ms(50), next).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn silent_store_ends_unlimited_wait_after_30_seconds() {
    let client = Client::in_memory();
    client.testing().go_silent();
    let begun = Instant::now();
    assert!(
        client
            .lock("l")
            .acquire()
            .await
            .unwrap_err()
            .is_unavailable()
    );
    assert!(
        ms(30_000) <= begun.elapsed() && begun.elapsed() <= ms(33_000),
        "{:?}",
        begun.elapsed()
    );
    client.testing().answer();
    tokio::time::sleep(ms(1_100)).await;
    assert!(
        client.lock("l").try_acquire().await.unwrap().is_some(),
        "what it left was undone"
    );
}

#[tokio::test(start_paused = true)]
async fn store_recovering_within_the_wait_grants() {
    let client = Client::in_memory();
    client.testing().go_silent();
    let lock = client.lock("l").wait_timeout(ms(10_000));
    let waiter = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(6_000)).await;
    client.testing().answer();
    assert!(waiter.await.unwrap().is_ok());
}

/// Makes the store silent for that time.
async fn silence(client: &Client, time: Duration) {
    client.testing().go_silent();
    tokio::time::sleep(time).await;
    client.testing().answer();
}

#[tokio::test(start_paused = true)]
async fn validity_counts_from_the_request_not_the_reply() {
    let client = Client::in_memory();
    let lock = client
        .lock("l")
        .lease_time(ms(5_000))
        .lost_margin(ms(100))
        .watchdog(false);
    for lock in [lock.clone(), lock.wait_timeout(Duration::ZERO)] {
        let (guard, ()) = tokio::join!(lock.acquire(), silence(&client, ms(700)));
        let guard = guard.unwrap();
        assert_eq!(guard.remaining(), ms(5_000 - 100 - 700));
        let (refreshed, ()) = tokio::join!(guard.refresh(), silence(&client, ms(600)));
        refreshed.unwrap();
        assert_eq!(guard.remaining(), ms(5_000 - 100 - 600));
        guard.release().await.unwrap();
    }
    let lock = client.lock("l").lease_time(ms(6_000)).lost_margin(ms(100));
    let guard = lock.acquire().await.unwrap();
    tokio::time::sleep(ms(1_900)).await;
    silence(&client, ms(800)).await;
    tokio::time::sleep(ms(100)).await;
    let since_it_was_due = 1_900 + 800 + 100 - 2_000;
    assert_eq!(guard.remaining(), ms(6_000 - 100 - since_it_was_due));
}

#[tokio::test(start_paused = true)]
async fn late_reply_does_not_revive_a_lost_hold() {
    let client = Client::in_memory();
    let lock = client.lock("l").watchdog(false);
    let lock = lock.lease_time(ms(4_000)).lost_margin(ms(2_000));
    let guard = lock.acquire().await.unwrap();
    tokio::time::sleep(ms(1_500)).await;
    let (refreshed, ()) = tokio::join!(guard.refresh(), silence(&client, ms(800)));
    assert!(matches!(refreshed, Err(Error::Lost(_))), "{refreshed:?}");
    assert!(!guard.is_held());
    assert_eq!(guard.lost().await, LostReason::Expired);
}

#[tokio::test(start_paused = true)]
async fn grant_arrives_without_waiting_for_a_poll() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = lock.acquire().await.unwrap();
    let waiter = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(100)).await;
    let begun = Instant::now();
    guard.release().await.unwrap();
    let next = waiter.await.unwrap().unwrap();
    assert!(next.is_held());
    assert!(begun.elapsed() < ms(50), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn expiry_grants_next_and_notifies_old_holder() {
    let client = Client::in_memory();
    let guard = client
        .lock("l")
        .lease_time(ms(3_000))
        .acquire()
        .await
        .unwrap();
    let lock = client.lock("l");
    let next = tokio::spawn(async move { lock.acquire().await.unwrap() });
    tokio::time::sleep(ms(10)).await;
    assert!(client.testing().expire("l"));
    let next = next.await.unwrap();
    assert!(guard.fence() < next.fence());
    assert_eq!(guard.lost().await, LostReason::Taken);
    assert!(guard.release().await.unwrap_err().is_lost());
    assert!(next.is_held());
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_session_share_one_place() {
    let client = Client::in_memory();
    let holder = client.lock("l").acquire().await.unwrap();
    let session = Arc::new(client.session());
    let wait = |limit: u64| {
        let session = session.clone();
        tokio::spawn(async move { session.lock("l").wait_timeout(ms(limit)).acquire().await })
    };
    let (short, long) = (wait(100), wait(5_000));
    tokio::time::sleep(ms(50)).await;
    assert_eq!(client.lock("l").inspect().await.unwrap().waiting, 1);
    let error = short.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Contended(contended) if contended.holder.is_some()));
    assert_eq!(client.lock("l").inspect().await.unwrap().waiting, 1);
    holder.release().await.unwrap();
    let guard = long.await.unwrap().unwrap();
    let again = session.lock("l").try_acquire().await.unwrap().unwrap();
    assert_eq!(guard.fence(), again.fence());
    drop((guard, again));
    let holder = client.lock("l").acquire().await.unwrap();
    let (a, b) = (wait(100), wait(200));
    assert!(a.await.unwrap().is_err() && b.await.unwrap().is_err());
    assert_eq!(client.lock("l").inspect().await.unwrap().waiting, 0);
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn session_refuses_other_settings_and_restarts_after_loss() {
    let client = Client::in_memory();
    let session = client.session();
    let outer = session.lock("l").acquire().await.unwrap();
    let other = session.lock("l").lease_time(ms(5_000)).acquire().await;
    assert_eq!(what(other.unwrap_err()), "lock");
    client.testing().lose("l", LostReason::Expired);
    let fresh = session.lock("l").wait_timeout(ms(100)).acquire().await;
    assert!(
        fresh.unwrap_err().is_contended(),
        "the store still keeps the lost hold"
    );
    drop(outer);
    assert!(session.lock("l").acquire().await.unwrap().is_held());
}

#[tokio::test(start_paused = true)]
async fn shutdown_notifies_and_leaves_holds_to_their_lease() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    let lock = client.lock("l");
    let waiter = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(10)).await;
    let closing = client.closing();
    let begun = Instant::now();
    assert_eq!(client.shutdown(ms(2_000)).await, 1);
    assert!(ms(2_000) <= begun.elapsed() && begun.elapsed() < ms(2_100));
    closing.await;
    assert!(matches!(waiter.await.unwrap(), Err(Error::Closed)));
    assert_eq!(guard.lost().await, LostReason::Shutdown);
    assert!(matches!(
        client.lock("m").acquire().await,
        Err(Error::Closed)
    ));
    assert!(client.lock("l").inspect().await.unwrap().is_held());
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_once_everything_is_released() {
    let client = Client::in_memory();
    let guard = client.lock("l").acquire().await.unwrap();
    let closing = client.closing();
    tokio::spawn(async move {
        closing.await;
        guard.release().await.unwrap();
    });
    let begun = Instant::now();
    assert_eq!(client.shutdown(ms(60_000)).await, 0);
    assert!(begun.elapsed() < ms(100));
}

#[tokio::test(start_paused = true)]
async fn memory_clients_share_only_the_same_name() {
    let connect = |url: &'static str| async move { Client::connect(url).await.unwrap() };
    let (a, b, c) = (
        connect("memory:shared").await,
        connect("memory:shared").await,
        connect("memory:").await,
    );
    let guard = a.lock("l").acquire().await.unwrap();
    assert!(b.lock("l").try_acquire().await.unwrap().is_none());
    assert!(c.lock("l").try_acquire().await.unwrap().is_some());
    drop(guard);
    assert!(b.lock("l").try_acquire().await.unwrap().is_some());
}

#[test]
fn block_on_needs_no_runtime() {
    let client = Client::in_memory();
    let guard = block_on(client.lock("l").acquire()).unwrap();
    block_on(guard.refresh()).unwrap();
    assert!(block_on(client.lock("l").try_acquire()).unwrap().is_none());
    let contended = block_on(client.lock("l").wait_timeout(ms(50)).acquire()).unwrap_err();
    assert!(contended.is_contended());
    block_on(guard.release()).unwrap();
    assert!(!block_on(client.lock("l").inspect()).unwrap().is_held());
    let guard = block_on(client.rw_lock("l").write()).unwrap();
    block_on(guard.downgrade()).unwrap();
    assert!(guard.hold().is_shared());
    client.testing().lose("l", LostReason::Taken);
    let is_told = |done: Result<(), Error>| done.is_err_and(|error| error.is_lost());
    assert!(is_told(block_on(guard.refresh())));
    assert!(is_told(block_on(guard.downgrade())));
    assert!(is_told(block_on(guard.release())));
}
