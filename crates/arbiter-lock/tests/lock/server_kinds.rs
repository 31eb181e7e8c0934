//! Servers that can never serve the URL: a missing command or database, a Sentinel, a cluster.

use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, RefusedKind};
use testkit::Server;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn refused(error: &Error) -> RefusedKind {
    match error {
        Error::Refused(refused) => refused.kind,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn missing_command_ends_the_wait_at_once() {
    let without = |command: &str| {
        let builder = Server::builder().arg("--rename-command");
        builder.arg(command).arg("").start()
    };
    for command in ["EVALSHA", "ZADD", "PEXPIRE"] {
        let server = without(command);
        let client = Client::connect_lazy(&server.url()).unwrap();
        let begun = Instant::now();
        let error = client.lock("l").acquire().await.unwrap_err();
        assert_eq!(
            refused(&error),
            RefusedKind::Unsupported,
            "{command}: {error}"
        );
        assert!(begun.elapsed() < ms(3_000), "{command}");
    }
}

#[tokio::test]
async fn sentinel_or_cluster_node_error_names_the_url() {
    let server = Server::start();
    let sentinel = Server::builder().sentinel("orders", server.port()).start();
    let node = Server::builder().node().start();
    let watched = format!("use redis+sentinel://127.0.0.1:{}/orders", sentinel.port());
    let cluster = format!(
        "where only some names would work: use redis+cluster://127.0.0.1:{}",
        node.port()
    );
    for (server, says) in [(&sentinel, watched), (&node, cluster)] {
        // The database, which neither of them has, is not part of the suggestion.
        for url in [server.url(), format!("{}/1", server.url())] {
            let error = Client::connect(&url).await.unwrap_err();
            assert_eq!(refused(&error), RefusedKind::WrongUrl, "{error}");
            assert!(error.to_string().ends_with(&says), "{error}");
        }
        let client = Client::connect_lazy(&server.url()).unwrap();
        let error = client.lock("l").acquire().await.unwrap_err();
        assert_eq!(refused(&error), RefusedKind::WrongUrl, "{error}");
        let error = client.lock("l").inspect().await.unwrap_err();
        assert_eq!(refused(&error), RefusedKind::WrongUrl, "{error}");
    }
}

#[tokio::test]
async fn database_of_the_url_is_selected() {
    let server = Server::start();
    let client = Client::connect(&format!("{}/3", server.url())).await;
    let guard = client.unwrap().lock("l").acquire().await.unwrap();
    let keyspace = server.call(&["INFO", "keyspace"]).text().unwrap();
    assert!(
        keyspace.contains("db3:keys=") && !keyspace.contains("db0:"),
        "{keyspace}"
    );
    guard.release().await.unwrap();
    let error = Client::connect(&format!("{}/99", server.url())).await;
    let error = error.unwrap_err();
    assert_eq!(refused(&error), RefusedKind::Unsupported, "{error}");
}
