//! The meaning of each error of a server.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use testkit::Server;

use super::ask::{self, contender};
use crate::events::event::{EventQueue, NoopLogger};
use crate::store::redis::cluster::Redirection;
use crate::store::redis::connection::Connection;
use crate::store::redis::dial::{ConnectionSettings, Limits};
use crate::store::redis::failure::failure_of;
use crate::store::redis::keys::Keys;
use crate::store::redis::route::ServerRoute;
use crate::store::redis::script;
use crate::store::redis::target::Target;
use crate::store::{Failure, FailureKind, KeyPrefix};

fn of_server(line: &str) -> Failure {
    let reply = format!("-{line}\r\n");
    let value = redis::parse_redis_value(reply.as_bytes()).unwrap();
    failure_of(&value.extract_error().unwrap_err())
}

#[test]
fn server_errors_are_classified_within_scripts_too() {
    let wrapped = |inner: &str| {
        format!(
            "ERR Error running script (call to f_81189b65c26d939e0757ae61a48d9a93b1df49a2): \
             @user_script:3: {inner}"
        )
    };
    let errors = [
        ("BUSY Redis is busy running a script.", FailureKind::Loading),
        (
            "LOADING Redis is loading the dataset in memory",
            FailureKind::Loading,
        ),
        (
            "TRYAGAIN Multiple keys request during rehashing of slot",
            FailureKind::Moving,
        ),
        ("CLUSTERDOWN The cluster is down", FailureKind::Loading),
        ("MASTERDOWN Link with MASTER is down", FailureKind::ReadOnly),
        (
            "READONLY You can't write against a read only replica.",
            FailureKind::ReadOnly,
        ),
        (
            &wrapped("-READONLY You can't write against a read only replica."),
            FailureKind::ReadOnly,
        ),
        (
            "OOM command not allowed when used memory > 'maxmemory'.",
            FailureKind::Full,
        ),
        (
            &wrapped("-OOM command not allowed when used memory > 'maxmemory'."),
            FailureKind::Full,
        ),
        ("MISCONF Errors writing to the AOF file", FailureKind::Full),
        (
            "NOREPLICAS Not enough good replicas to write.",
            FailureKind::NoReplicas,
        ),
        ("WRONGTYPE Operation against a key", FailureKind::WrongType),
        (
            &wrapped("WRONGTYPE Operation against a key"),
            FailureKind::WrongType,
        ),
        ("NOAUTH Authentication required.", FailureKind::Denied),
        (
            "WRONGPASS invalid username-password pair",
            FailureKind::Denied,
        ),
        (
            "NOPERM this user has no permissions to run the 'evalsha' command",
            FailureKind::Denied,
        ),
        (
            "ERR The user executing the script can't run this command or subcommand script: f, \
             on @user_script:6.",
            FailureKind::Denied,
        ),
        (
            &wrapped("The user executing the script can't run this command or subcommand"),
            FailureKind::Denied,
        ),
        (
            "DENIED Redis is running in protected mode because protected mode is enabled",
            FailureKind::Denied,
        ),
        (
            "ERR SELECT is not allowed in cluster mode",
            FailureKind::Unsupported,
        ),
        ("MOVED 866 127.0.0.1:7001", FailureKind::WrongUrl),
        ("ASK 866 127.0.0.1:7001", FailureKind::WrongUrl),
        (
            "CROSSSLOT Keys in request don't hash to the same slot",
            FailureKind::WrongUrl,
        ),
        (
            "NOPROTO unsupported protocol version",
            FailureKind::Unsupported,
        ),
        ("ERR unknown command 'HELLO'", FailureKind::Unsupported),
        (
            &wrapped("Write commands not allowed after non deterministic commands."),
            FailureKind::Unsupported,
        ),
        (
            "ERR Unknown Redis command called from script script: 81189b65, on @user_script:3.",
            FailureKind::Unsupported,
        ),
        (
            &wrapped("Unknown Redis command called from script"),
            FailureKind::Unsupported,
        ),
        (
            "ERR value is not an integer or out of range",
            FailureKind::Other,
        ),
        ("NEWCODE nobody knows it", FailureKind::Other),
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 96e246, on \
             @user_script:34.",
            FailureKind::WrongType,
        ),
    ];
    for (line, kind) in errors {
        let failure = of_server(line);
        assert_eq!(failure.kind, kind, "{line}");
        // A script that begins checks first; one that ends in its middle may have written.
        let middle = ["user executing", "called from script"];
        let is_from_the_middle =
            kind == FailureKind::Other || middle.iter().any(|said| line.contains(said));
        assert_eq!(failure.may_have_run, is_from_the_middle, "{line}");
        let said = failure.to_string();
        assert!(said.contains(": ") && said.len() < 300, "{said}");
        assert!(!said.contains(" script: "), "{said}");
    }
}

#[test]
fn redirection_is_found_in_its_failure() {
    let expected = ("127.0.0.1".to_owned(), 7_001);
    for (host, asked) in [("127.0.0.1", "a"), ("", "127.0.0.1")] {
        let found = |word| {
            let failure = of_server(&format!("{word} 866 {host}:7001"));
            Redirection::parse(&failure.detail, asked)
        };
        let moved = Redirection::Moved(866, expected.clone());
        assert_eq!(found("MOVED"), Some(moved));
        assert_eq!(found("ASK"), Some(Redirection::Ask(expected.clone())));
    }
}

#[test]
fn reset_is_unreachable_and_bad_reply_is_malformed() {
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let failure = failure_of(&RedisError::from(reset));
    assert_eq!(
        (failure.kind, failure.may_have_run),
        (FailureKind::Unreachable, true)
    );
    let parse = redis::parse_redis_value(b"?what\r\n").unwrap_err();
    let failure = failure_of(&parse);
    assert_eq!(
        (failure.kind, failure.may_have_run),
        (FailureKind::Malformed, true)
    );
}

#[tokio::test]
async fn request_without_time_left_is_not_sent() {
    let server = Server::start();
    let (target, _) = Target::parse(&server.url()).unwrap();
    let second = Duration::from_secs(1);
    let limits = Limits {
        command: second,
        connect: second * 5,
    };
    let connection = Connection::new(
        ServerRoute::One(Arc::new(target)),
        ConnectionSettings {
            limits,
            client_name: "test".into(),
            key_prefix: KeyPrefix::default(),
            events: EventQueue::new(Box::new(NoopLogger)),
        },
        None,
    );
    connection.connect(Duration::MAX).await.unwrap();
    let keys = Keys::new(&KeyPrefix::default(), "name").unwrap();
    let acquire = script::request(&keys, &ask::acquire(&contender("r", "c", 5_000), None));
    let failure = connection
        .call(&acquire, false, Duration::ZERO)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Silent);
    assert!(!failure.may_have_run, "{failure}");
    connection.call(&acquire, false, second).await.unwrap();
}
