//! The output of the examples that users run.

use std::path::Path;
use std::process::Command;

use testkit::Server;

/// Runs an example, which `cargo test` builds, on the store that it uses by itself unless one is
/// given. Returns its output.
fn output_of(example: &str, store: Option<&str>) -> String {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let mut command = Command::new(profile.join("examples").join(example));
    command.env_remove("ARBITER_STORE");
    command.envs(store.map(|url| ("ARBITER_STORE", url)));
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {stdout}\n{stderr}");
    assert_eq!(stderr, "", "{example}");
    stdout
}

/// Asserts that these parts occur in the output of an example, in that order.
fn expect(example: &str, store: Option<&str>, parts: &[&str]) {
    let output = output_of(example, store);
    let mut rest = output.as_str();
    for part in parts {
        let Some(at) = rest.find(part) else {
            panic!("{example} printed {output:?}, without {part:?} in its place");
        };
        rest = &rest[at + part.len()..];
    }
}

/// Runs an example in memory, and on a server.
fn expect_on_stores(example: &str, parts: &[&str]) {
    expect(example, None, parts);
    expect(example, Some(&Server::start().url()), parts);
}

#[test]
fn lock_shows_its_holder() {
    let parts = [
        "acquired, fence",
        "a try finds it held",
        "a wait ends: lock 'example:lock' is held by",
        "the example",
        "released",
        "worked under fence",
    ];
    expect_on_stores("lock", &parts);
}

#[test]
fn rw_lock_lets_a_writer_downgrade() {
    let parts = [
        "two readers at a time",
        "no writer beside them",
        "a writer alone",
        "it reads now, beside another reader",
    ];
    expect_on_stores("rw_lock", &parts);
}

#[test]
fn semaphore_holds_at_most_two_licenses() {
    let parts = [
        "has a license",
        "both licenses at once",
        "from Some(2) to 3",
    ];
    expect_on_stores("semaphore", &parts);
    assert!(!output_of("semaphore", None).contains("; 3 of"));
}

#[test]
fn opposite_transfers_never_deadlock() {
    expect_on_stores("several", &["under the fences", "under the fences"]);
}

#[test]
fn leader_hands_off_on_a_signal() {
    let parts = [
        "node-1 leads",
        "sending SIGTERM",
        "node-1 resigns",
        "node-2 leads",
    ];
    expect_on_stores("election", &parts);
}

#[test]
fn job_runs_on_one_machine_of_two() {
    let parts = [
        "web-1 runs the job",
        "web-1 sent 12 invoices",
        "web-2 skips: 'example:invoices' was run by",
        "it may run again in",
    ];
    expect_on_stores("once", &parts);
}

#[test]
fn handler_answers_by_the_error() {
    let parts = [
        "free: HTTP/1.1 200 OK: debited under fence",
        "log: lock 'account:7' is held by",
        "held: HTTP/1.1 409 Conflict: try again",
        "ready: HTTP/1.1 200 OK: ",
    ];
    expect_on_stores("http_handler", &parts);
}

#[test]
fn threads_lose_no_update() {
    expect_on_stores("blocking", &["the file has 20\n"]);
}

#[test]
#[cfg(feature = "metrics")]
fn metrics_count_grants_and_contention() {
    let parts = [
        r#"arbiter_acquires_total["primitive=lock", "outcome=contended", "name=example"] 1"#,
        r#"arbiter_acquires_total["primitive=lock", "outcome=granted", "name=example"] 1"#,
        "arbiter_wait_seconds",
    ];
    expect_on_stores("metrics", &parts);
}

#[test]
fn table_refuses_an_older_fence() {
    let parts = ["writes: true", "again: true", "writes: false", "has: final"];
    expect("fenced_sql", None, &parts);
}

#[test]
fn redis_value_refuses_an_older_fence() {
    let parts = ["writes: true", "again: true", "writes: false", "has: final"];
    expect("fenced_redis", Some(&Server::start().url()), &parts);
}

#[test]
fn service_refuses_an_older_fence() {
    expect("fenced_http", None, &["204", "412", "428", "has: final"]);
}
