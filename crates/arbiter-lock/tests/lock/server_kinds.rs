//! Servers that can never serve the URL: a missing command or database, a Sentinel, a cluster.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, NoopLogger, RefusedKind};
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
    assert_eq!(refused(&error), RefusedKind::WrongUrl, "{error}");
    assert!(error.to_string().contains("no database 99"), "{error}");
}

/// How a program behaves that is no server of locks.
#[derive(Clone, Copy)]
enum Other {
    /// Reads once, answers, and closes the connection.
    Answers(&'static [u8]),
    /// Sends a greeting at once, and reads.
    Greets(&'static [u8]),
    /// Answers once an empty line has arrived.
    AnswersPage(&'static [u8]),
    /// The same, if it is the end of a request of HTTP. Else it closes the connection.
    AnswersRequest(&'static [u8]),
}

/// Starts such a program on a port, until the process ends.
fn other_program(kind: Other) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream.unwrap(), [0; 4_096]);
                let _ = match kind {
                    Other::Answers(text) => {
                        let _ = stream.read(&mut buffer);
                        stream.write_all(text)
                    }
                    Other::Greets(text) => {
                        let sent = stream.write_all(text);
                        let _ = stream.read(&mut buffer);
                        sent
                    }
                    Other::AnswersPage(text) | Other::AnswersRequest(text) => {
                        let mut heard: Vec<u8> = Vec::new();
                        while !heard.windows(4).any(|four| four == b"\r\n\r\n") {
                            match stream.read(&mut buffer) {
                                Ok(count) if 0 < count => heard.extend(&buffer[..count]),
                                _ => return,
                            }
                        }
                        let is_request = heard.starts_with(b"GET / HTTP/1");
                        match kind {
                            Other::AnswersRequest(_) if !is_request => return,
                            _ => stream.write_all(text),
                        }
                    }
                };
            });
        }
    });
    port
}

const PAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
const GREETING: &[u8] = b"J\0\0\0\x0a8.0.36\0\x08\0\0\0";

#[tokio::test]
async fn port_of_another_program_is_named() {
    let redis = Server::start();
    let not_redis = "it does not speak the protocol of Redis: the URL may name the port";
    let not_postgres = "it does not speak the protocol of PostgreSQL: the URL may name the port";
    let closed = "it closed the connection at the first command";
    let older = "it does not know HELLO 3";
    let other = |kind, scheme: &str| {
        let (port, path) = (
            other_program(kind),
            if scheme == "postgres" { "/d" } else { "" },
        );
        format!("{scheme}://u:p@127.0.0.1:{port}{path}")
    };
    for (url, expected) in [
        (other(Other::Answers(b""), "redis"), closed),
        (other(Other::Answers(b"ERROR\r\n"), "redis"), not_redis),
        (other(Other::Greets(GREETING), "redis"), not_redis),
        (
            other(Other::Answers(b"-ERR unknown command 'HELLO'\r\n"), "redis"),
            older,
        ),
        (
            other(
                Other::Answers(b"-ERR unknown command `HELLO`, with args\r\n"),
                "redis",
            ),
            older,
        ),
        (other(Other::AnswersPage(PAGE), "redis"), "it speaks HTTP"),
        (
            other(Other::AnswersRequest(PAGE), "redis"),
            "it speaks HTTP",
        ),
        #[cfg(feature = "tls")]
        (
            other(Other::AnswersRequest(PAGE), "rediss"),
            "it speaks HTTP",
        ),
        #[cfg(feature = "tls")]
        (other(Other::Answers(PAGE), "rediss"), "it speaks HTTP"),
        #[cfg(feature = "tls")]
        (other(Other::AnswersPage(PAGE), "rediss"), "it speaks HTTP"),
        #[cfg(feature = "tls")]
        (other(Other::Greets(GREETING), "rediss"), not_redis),
        (other(Other::Answers(PAGE), "postgres"), not_postgres),
        (other(Other::AnswersPage(PAGE), "postgres"), not_postgres),
        (other(Other::AnswersRequest(PAGE), "postgres"), not_postgres),
        (
            format!("postgres://u@127.0.0.1:{}/d", redis.port()),
            not_postgres,
        ),
    ] {
        let builder = Client::builder().store(&url).logger(NoopLogger);
        let begun = Instant::now();
        let error = builder.connect().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(
            !error.contains("Parse") && !error.contains("rediss in place"),
            "{error}"
        );
        assert!(begun.elapsed() < ms(4_000), "{url}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn plain_server_behind_a_sentinel_url_is_named() {
    let server = Server::start();
    let url = format!("redis+sentinel://127.0.0.1:{}/orders", server.port());
    let error = Client::connect(&url).await.unwrap_err();
    assert_eq!(refused(&error), RefusedKind::WrongUrl, "{error}");
    let says = format!("it is no sentinel: use redis://127.0.0.1:{}", server.port());
    assert!(error.to_string().ends_with(&says), "{error}");
    // One of them beside sentinels changes nothing.
    let sentinels = [(); 2].map(|()| Server::builder().sentinel("orders", server.port()).start());
    let [a, b] = sentinels.each_ref().map(Server::port);
    let url = format!(
        "redis+sentinel://127.0.0.1:{},127.0.0.1:{a},127.0.0.1:{b}/orders",
        server.port()
    );
    Client::connect(&url).await.unwrap();
}
