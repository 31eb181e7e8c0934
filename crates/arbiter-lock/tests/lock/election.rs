//! The election on the memory store, beyond its conformance tests.

use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbiter_lock::{Client, Event, Level, Logger, Testing, block_on};
use testkit::{Proxy, Server, Traffic, unique_name};
use tokio::time::Instant;

use crate::faults::key;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A logger that acts in the middle of the client's work, when it is about to report the n-th
/// grant. The client asks the logger there whether it wants the event, and it does not.
struct AtGrant {
    testing: Arc<OnceLock<Testing>>,
    grants_before: AtomicIsize,
    act: fn(&Testing),
}

impl Logger for AtGrant {
    fn log(&self, _: &Event) {}

    fn enabled(&self, level: Level) -> bool {
        if let (Level::Debug, Some(testing)) = (level, self.testing.get())
            && self.grants_before.fetch_sub(1, Ordering::SeqCst) == 1
        {
            (self.act)(testing);
        }
        false
    }
}

/// Connects a client to a memory store, with an action at its n-th grant.
pub(crate) async fn acting_at_grant(n: isize, act: fn(&Testing)) -> Client {
    let testing = Arc::new(OnceLock::new());
    let logger = AtGrant {
        testing: testing.clone(),
        grants_before: AtomicIsize::new(n),
        act,
    };
    let builder = Client::builder().store("memory:").logger(logger);
    let client = builder.connect().await.unwrap();
    testing.set(client.testing()).unwrap();
    client
}

/// Connects a client whose store goes silent at the first grant.
pub(crate) async fn silenced_by_a_grant() -> Client {
    acting_at_grant(1, Testing::go_silent).await
}

#[tokio::test(start_paused = true)]
async fn campaign_that_cannot_proclaim_ends_in_time() {
    let client = silenced_by_a_grant().await;
    let begun = Instant::now();
    let election = client.election("e").wait_timeout(ms(2_000));
    let failed = election.campaign("node").await;
    assert!(failed.unwrap_err().is_unavailable());
    assert!(begun.elapsed() <= ms(2_050), "{:?}", begun.elapsed());
    client.testing().answer();
    tokio::time::sleep(ms(2_000)).await;
    assert!(election.leader().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn campaign_proclaims_when_the_store_answers_again() {
    let client = silenced_by_a_grant().await;
    let election = client.election("e").wait_timeout(ms(10_000));
    let answering = async {
        tokio::time::sleep(ms(3_000)).await;
        client.testing().answer();
    };
    let (leadership, ()) = tokio::join!(election.campaign("node"), answering);
    let leader = election.leader().await.unwrap().unwrap();
    assert_eq!(leader.value.as_deref(), Some("node"));
    assert_eq!(leader.fence, Some(leadership.unwrap().fence()));
}

#[tokio::test(start_paused = true)]
async fn observer_survives_short_and_reports_long_silence() {
    let client = Client::in_memory();
    let mut observer = client.election("e").observe();
    assert!(observer.next().await.unwrap().is_none());
    client.testing().go_silent();
    let quiet = tokio::time::timeout(ms(20_000), observer.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    let told = tokio::time::timeout(ms(15_000), observer.next()).await;
    assert!(told.unwrap().unwrap_err().is_unavailable());

    client.testing().answer();
    let leadership = client.election("e").campaign("node").await.unwrap();
    let leader = observer.next().await.unwrap().unwrap();
    assert_eq!(leader.fence, Some(leadership.fence()));
}

#[tokio::test(start_paused = true)]
async fn observer_times_each_silence_separately() {
    let client = Client::in_memory();
    let mut observer = client.election("e").observe();
    assert!(observer.next().await.unwrap().is_none());
    for _ in 0..3 {
        client.testing().go_silent();
        let quiet = tokio::time::timeout(ms(20_000), observer.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        client.testing().answer();
        let quiet = tokio::time::timeout(ms(2_000), observer.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_observation_misses_nothing_and_keeps_pace() {
    let client = Client::in_memory();
    let election = client.election("e");
    let mut observer = election.observe();
    assert!(observer.next().await.unwrap().is_none());
    let leadership = election.campaign("node").await.unwrap();
    let begun = Instant::now();
    loop {
        let next = tokio::time::timeout(ms(20), observer.next()).await;
        if let Ok(leader) = next {
            let fence = leader.unwrap().and_then(|leader| leader.fence);
            assert_eq!(fence, Some(leadership.fence()));
            break;
        }
        assert!(begun.elapsed() < ms(600), "it never polls");
    }
}

#[tokio::test(start_paused = true)]
async fn observer_polls_when_the_leaders_lease_ends() {
    let client = Client::in_memory();
    let election = client.election("e").lease_time(ms(200)).watchdog(false);
    let mut observer = election.observe();
    let leadership = election.campaign("node").await.unwrap();
    let begun = Instant::now();
    assert!(observer.next().await.unwrap().is_some());
    assert!(observer.next().await.unwrap().is_none());
    assert!(begun.elapsed() < ms(210), "{:?}", begun.elapsed());
    drop(leadership);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_observers_and_campaigns() {
    let client = Client::in_memory();
    let election = client.election("e");
    let _leadership = election.campaign("node").await.unwrap();
    let mut observer = election.observe();
    assert!(observer.next().await.unwrap().is_some());
    let (next, campaign, _) = tokio::join!(
        observer.next(),
        election.campaign("other"),
        client.shutdown(ms(10))
    );
    let closed = |error: arbiter_lock::Error| matches!(error, arbiter_lock::Error::Closed);
    assert!(closed(next.unwrap_err()));
    assert!(closed(campaign.unwrap_err()));
}

#[tokio::test]
async fn refused_observer_polls_no_more_often() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    server.call(&["SET", &key(&name), "somebody's data"]);
    let mut observer = client.election(&name).observe();
    let mut refused = 0;
    let asking = async {
        loop {
            let error = observer.next().await.unwrap_err();
            assert!(matches!(error, arbiter_lock::Error::Refused(_)), "{error}");
            refused += 1;
        }
    };
    let asked = tokio::time::timeout(ms(2_000), asking).await;
    assert!(asked.is_err() && (2..50).contains(&refused), "{refused}");
    server.call(&["DEL", &key(&name)]);
    assert!(observer.next().await.unwrap().is_none());
}

#[tokio::test]
async fn reconnected_observer_shows_the_current_leader() {
    let server = Server::start();
    let proxy = Proxy::before(&server);
    let builder = Client::builder().store(&proxy.url());
    let client = builder.command_timeout(ms(300)).connect().await.unwrap();
    let direct = Client::connect(&server.url()).await.unwrap();
    let mut observer = client.election("e").observe();
    assert!(observer.next().await.unwrap().is_none());
    proxy.set_traffic(Traffic::Silent);
    let leadership = direct.election("e").campaign("node").await.unwrap();
    let quiet = tokio::time::timeout(ms(1_500), observer.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    proxy.set_traffic(Traffic::Flowing);
    let seen = tokio::time::timeout(ms(5_000), observer.next()).await;
    let seen = seen.unwrap().unwrap().unwrap();
    assert_eq!(seen.fence, Some(leadership.fence()));
    leadership.resign().await.unwrap();
    assert!(observer.next().await.unwrap().is_none());
}

#[test]
fn election_works_with_blocking_calls() {
    let client = Client::in_memory();
    let election = client.election("e");
    let leadership = block_on(election.campaign("one")).unwrap();
    assert!(block_on(election.try_campaign("two")).unwrap().is_none());
    block_on(leadership.proclaim("two")).unwrap();
    let leader = block_on(election.leader()).unwrap().unwrap();
    assert_eq!(leader.value.as_deref(), Some("two"));
    block_on(leadership.resign()).unwrap();
    assert!(block_on(election.leader()).unwrap().is_none());
}
