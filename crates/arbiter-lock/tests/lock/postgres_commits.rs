//! Statements and commits whose answers are lost, or that do not end.

use std::time::Instant;

use arbiter_lock::{Client, NoopLogger};
use rustix::process::{Signal, kill_process};
use testkit::{Postgres, eventually_async, unique_name};

use crate::acquire_and_release;
use crate::postgres_faults::{client, ms};
use crate::postgres_relay::{Relay, Spoil};

async fn is_held(server: &Postgres, name: &str) -> bool {
    let owner = format!("SELECT owner FROM arbiter.names WHERE name = 'arbiter:{name}'");
    !server.sql(&owner).is_empty()
}

/// Checks that a grant with an unknown outcome is ended, and that waits continue.
async fn unknown_grant_is_ended(spoil: Spoil) {
    let server = Postgres::start();
    let relay = Relay::before(&server, spoil).await;
    let client = client(&relay.url()).await;
    for _ in 0..3 {
        let name = unique_name();
        relay.arm();
        let error = client.lock(&name).try_acquire().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(relay.has_spoiled(), "{error}");
        let begun = Instant::now();
        while is_held(&server, &name).await {
            assert!(begun.elapsed() < ms(10_000), "{error}");
            tokio::time::sleep(ms(10)).await;
        }
        relay.arm();
        let lock = client.lock(&name).wait_timeout(ms(5_000));
        let guard = lock.acquire().await.unwrap();
        assert!(is_held(&server, &name).await);
        guard.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_with_lost_answers_is_ended() {
    unknown_grant_is_ended(Spoil::Answers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_of_a_server_that_panics_is_ended() {
    unknown_grant_is_ended(Spoil::Panic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_without_a_commit_is_rolled_back() {
    unknown_grant_is_ended(Spoil::Commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_outside_its_transaction_is_ended() {
    unknown_grant_is_ended(Spoil::Begin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_transactions_delay_only_their_names() {
    let server = Postgres::start();
    let client = client(&server.url()).await;
    let [old, new, kept] = [unique_name(), unique_name(), unique_name()];
    acquire_and_release(&client.lock(&old)).await;
    let lock = client.lock(&kept).lease_time(ms(1_500));
    let guard = lock.acquire().await.unwrap();
    // A transaction that is inserting a name, and one that is changing it.
    let mut inserting = server.psql();
    let row = format!(
        r#"{{"new": [{{"name": "arbiter:{new}", "revision": 1, "waiting": 0, "skipped": 0,
            "notes": 0, "queue_until": 0, "last_fence": 0, "fence_until": 0}}]}}"#
    );
    inserting.run("BEGIN");
    let swapped = inserting.run(&format!("SELECT written FROM arbiter.swap('{row}', false)"));
    assert_eq!(swapped, format!("{{arbiter:{new}}}"));
    let mut changing = server.psql();
    changing.run("BEGIN");
    changing.run(&format!(
        "UPDATE arbiter.names SET notes = notes WHERE name = 'arbiter:{old}'"
    ));
    let waiters = [&old, &new].map(|name| {
        let lock = client.lock(name).wait_timeout(ms(20_000));
        tokio::spawn(async move { lock.acquire().await.unwrap() })
    });
    let begun = Instant::now();
    while begun.elapsed() < ms(4_000) {
        let turn = Instant::now();
        acquire_and_release(&client.lock(&unique_name())).await;
        assert!(turn.elapsed() < ms(3_000), "{:?}", turn.elapsed());
        tokio::time::sleep(ms(20)).await;
    }
    assert!(guard.is_held());
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    drop((inserting, changing));
    for waiter in waiters {
        waiter.await.unwrap().release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unnoticed_old_session_blocks_no_new_one() {
    let server = Postgres::start();
    let relay = Relay::before(&server, Spoil::Notice).await;
    let builder = Client::builder().store(&relay.url()).logger(NoopLogger);
    let client = builder.command_timeout(ms(300)).connect().await.unwrap();
    let listening = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'";
    acquire_and_release(&client.lock(&unique_name())).await;
    let before = server.sql(listening);
    relay.arm();
    let tried = client.lock(&unique_name()).try_acquire().await;
    assert!(tried.unwrap_err().is_unavailable());
    let lock = client.lock(&unique_name()).wait_timeout(ms(3_000));
    acquire_and_release(&lock).await;
    let listening = || server.sql(listening);
    let is_replaced = || listening().lines().count() == 1 && listening() != before;
    assert!(eventually_async(ms(3_000), is_replaced).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_session_is_given_up() {
    let server = Postgres::start();
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    let client = builder.command_timeout(ms(300)).connect().await.unwrap();
    acquire_and_release(&client.lock(&unique_name())).await;
    let listening = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'";
    let stopped: i32 = server.sql(listening).parse().unwrap();
    let stopped = rustix::process::Pid::from_raw(stopped).unwrap();
    kill_process(stopped, Signal::STOP).unwrap();
    let lock = client.lock(&unique_name()).wait_timeout(ms(1_000));
    assert!(lock.acquire().await.unwrap_err().is_unavailable());
    kill_process(stopped, Signal::CONT).unwrap();
    let lock = client.lock(&unique_name()).wait_timeout(ms(10_000));
    acquire_and_release(&lock).await;
    let is_one = || server.sql(listening).lines().count() == 1;
    assert!(eventually_async(ms(5_000), is_one).await);
}
