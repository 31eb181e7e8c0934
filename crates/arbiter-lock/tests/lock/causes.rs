//! Every error and loss carries the store's last reply, and a release reports its outcome.

use std::error::Error as _;
use std::time::Duration;

use arbiter_lock::{Client, Error, LostReason, NoopLogger};
use testkit::{Fault, Proxy, Server, unique_name};

use crate::matrix::rig::is_end;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn client(url: &str) -> Client {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await.unwrap()
}

#[tokio::test]
async fn refused_renewal_reports_the_servers_error() {
    for (spoil, says) in [
        (&["REPLICAOF", "127.0.0.1", "1"][..], "READONLY"),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            "NOREPLICAS",
        ),
        (
            &["ACL", "SETUSER", "default", "-evalsha", "-eval"],
            "NOPERM",
        ),
    ] {
        let server = Server::start();
        let client = client(&server.url()).await;
        let lock = client.lock(&unique_name()).lease_time(ms(1_000));
        let guard = lock.acquire().await.unwrap();
        server.call(spoil);
        assert_eq!(guard.lost().await, LostReason::NotRenewed, "{says}");
        let loss = guard.loss().unwrap();
        let cause = loss.cause().unwrap().to_string();
        assert!(cause.contains(says), "{cause}");
        let error = guard.release().await.unwrap_err();
        assert!(
            error.is_lost() && error.to_string().contains(says),
            "{error}"
        );
        assert!(error.source().unwrap().to_string().contains(says));
    }
}

#[tokio::test]
async fn unanswered_renewal_is_reported_as_unreachable() {
    let server = Server::start();
    let client = client(&server.url()).await;
    let lock = client.lock(&unique_name()).lease_time(ms(1_000));
    let guard = lock.acquire().await.unwrap();
    server.stop();
    assert_eq!(guard.lost().await, LostReason::Unreachable);
    let loss = guard.loss().unwrap();
    server.cont();
    let cause = loss.cause().unwrap().to_string();
    assert!(cause.contains("no answer"), "{cause}");
    let unrenewed = client.lock(&unique_name()).lease_time(ms(200));
    let guard = unrenewed.watchdog(false).acquire().await.unwrap();
    assert_eq!(guard.lost().await, LostReason::Expired);
    assert!(guard.loss().unwrap().cause().is_none());
}

#[tokio::test]
async fn release_whose_connection_is_cut_is_confirmed() {
    let server = Server::start();
    for fault in [Fault::CutBefore, Fault::CutAfter] {
        let proxy = Proxy::before(&server);
        let client = client(&proxy.url()).await;
        let name = unique_name();
        let guard = client.lock(&name).acquire().await.unwrap();
        let rule = proxy.nth(1, fault, is_end);
        guard.release().await.unwrap();
        assert_eq!(rule.fired(), 1);
        let key = format!("arbiter:{name}");
        assert_eq!(server.call(&["EXISTS", &key]).int(), Some(0), "{fault:?}");
        assert_eq!(client.shutdown(ms(1_000)).await, 0);
    }
}

#[tokio::test]
async fn hold_deleted_before_a_refused_release_is_lost() {
    let server = Server::start();
    let client = client(&server.url()).await;
    let name = unique_name();
    let guard = client.lock(&name).acquire().await.unwrap();
    server.call(&["DEL", &format!("arbiter:{name}")]);
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let releasing = tokio::spawn(guard.release());
    tokio::time::sleep(ms(200)).await;
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    let error = releasing.await.unwrap().unwrap_err();
    // A request that the server refused cannot have ended the hold.
    assert!(matches!(error, Error::Lost(_)), "{error}");
}

#[tokio::test]
async fn release_on_a_recovering_server_is_no_failure() {
    let server = Server::start();
    let client = client(&server.url()).await;
    let name = unique_name();
    let guard = client.lock(&name).acquire().await.unwrap();
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let releasing = tokio::spawn(guard.release());
    tokio::time::sleep(ms(200)).await;
    server.call(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    releasing.await.unwrap().unwrap();
    assert!(client.lock(&name).try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn unconfirmed_release_is_counted_by_shutdown() {
    let server = Server::start();
    let client = client(&server.url()).await;
    let guard = client.lock(&unique_name()).acquire().await.unwrap();
    server.stop();
    let error = guard.release().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(client.shutdown(ms(100)).await, 1);
    server.cont();
}
