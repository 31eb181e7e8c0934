//! Transactions that guard their writes by a hold: `arbiter.guard` and `arbiter.check`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Guard, Lock, NoopLogger};
use testkit::{Postgres, Psql, unique_name};
use tokio::task::JoinHandle;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const ISOLATIONS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

async fn client(server: &Postgres) -> Client {
    let builder = Client::builder().store(&server.url()).logger(NoopLogger);
    builder.connect().await.unwrap()
}

async fn hold(server: &Postgres) -> (Client, Lock, Guard) {
    let client = client(server).await;
    let lock = client.lock(&unique_name()).lease_time(ms(30_000));
    let guard = lock.acquire().await.unwrap();
    (client, lock, guard)
}

fn statement(name: &str, fence: u64) -> String {
    format!("SELECT arbiter.guard('{name}', {fence})")
}

/// Opens a session with a transaction that has guarded its writes.
fn guarding(server: &Postgres, isolation: &str, guard: &Guard) -> Psql {
    let mut session = server.psql();
    session.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
    assert_eq!(session.run(&statement(guard.name(), guard.fence())), "");
    session
}

fn is_over(error: &str) -> bool {
    error.contains("has the fence") || error.contains("could not serialize access")
}

fn waiting(lock: &Lock) -> JoinHandle<Guard> {
    let lock = lock.clone();
    tokio::spawn(async move { lock.acquire().await.unwrap() })
}

/// Creates a table that counts writes.
fn table(server: &Postgres) -> String {
    let table = format!("t{}", unique_name().replace('-', "_"));
    let _ = server.sql(&format!(
        "CREATE TABLE {table} (n int); INSERT INTO {table} VALUES (0)"
    ));
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_of_a_former_holder_commits() {
    let server = Postgres::shared();
    let table = table(&server);
    for isolation in ISOLATIONS {
        let (_client, lock, first) = hold(&server).await;
        let stale = statement(first.name(), first.fence());
        // Its snapshot is as old as the hold.
        let mut old = server.psql();
        old.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        old.run(&format!("SELECT n FROM {table}"));
        // After the release alone, and after the next grant.
        first.release().await.unwrap();
        let error = old.run(&stale);
        assert!(is_over(&error), "{isolation}: {error}");
        assert_eq!(old.run("COMMIT"), "", "it was rolled back");
        let second = lock.acquire().await.unwrap();
        let mut new = server.psql();
        new.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        let error = new.run(&stale);
        assert!(is_over(&error), "{isolation}: {error}");
        let refused = new.run(&format!("UPDATE {table} SET n = n + 1"));
        assert!(refused.contains("aborted"), "{refused}");
        new.run("COMMIT");
        let mut current = guarding(&server, isolation, &second);
        current.run(&format!("UPDATE {table} SET n = n + 100"));
        assert_eq!(current.run("COMMIT"), "");
        second.release().await.unwrap();
    }
    assert_eq!(server.sql(&format!("SELECT n FROM {table}")), "300");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_before_a_regrant_is_no_false_yes() {
    let server = Postgres::shared();
    for isolation in &ISOLATIONS[1..] {
        let (_client, lock, first) = hold(&server).await;
        let stale = statement(first.name(), first.fence());
        let mut old = server.psql();
        old.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        old.run("SELECT 1");
        first.release().await.unwrap();
        let second = lock.acquire().await.unwrap();
        let current = statement(second.name(), second.fence());
        let error = old.run(&stale);
        assert!(is_over(&error), "{isolation}: {error}");
        old.run("ROLLBACK");
        // A snapshot that is older than the grant does not see it.
        old.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        old.run("SELECT 1");
        second.release().await.unwrap();
        let third = lock.acquire().await.unwrap();
        let newer = statement(third.name(), third.fence());
        let error = old.run(&newer);
        assert!(is_over(&error), "{isolation}: {error}");
        old.run("ROLLBACK");
        old.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        assert!(is_over(&old.run(&current)));
        old.run("ROLLBACK");
        third.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_off_waits_for_the_guarded_transaction() {
    let server = Postgres::shared();
    for isolation in ISOLATIONS {
        let (_client, lock, first) = hold(&server).await;
        let fence = first.fence();
        let mut session = guarding(&server, isolation, &first);
        let waiter = waiting(&lock);
        while lock.inspect().await.unwrap().waiting == 0 {
            tokio::time::sleep(ms(5)).await;
        }
        // Neither renewals nor other names wait.
        let begun = Instant::now();
        for _ in 0..20 {
            first.refresh().await.unwrap();
        }
        let other = client(&server).await.lock(&unique_name());
        let other = other.acquire().await.unwrap();
        assert!(begun.elapsed() < ms(10_000), "{:?}", begun.elapsed());
        other.release().await.unwrap();
        // The release is finished in the background.
        let error = first.release().await.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        let pid = session.run("SELECT pg_backend_pid()");
        let of = format!("a transaction of pid {pid} (postgres, since ");
        assert!(error.to_string().contains(&of), "{error}");
        let shown = lock.inspect().await.unwrap().holder.unwrap();
        let note = shown.label.note.unwrap();
        assert!(
            note.contains(&format!("guarded by a transaction of pid {pid}")),
            "{note}"
        );
        tokio::time::sleep(ms(300)).await;
        assert!(!waiter.is_finished(), "{isolation}");
        assert_eq!(session.run("COMMIT"), "");
        let next = tokio::time::timeout(ms(10_000), waiter).await;
        let next = next.unwrap().unwrap();
        assert!(fence < next.fence());
        next.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_hold_lasts_while_it_is_guarded() {
    let server = Postgres::shared();
    let client = client(&server).await;
    let lock = client.lock(&unique_name()).lease_time(ms(2_000));
    let lock = lock.watchdog(false);
    let first = lock.acquire().await.unwrap();
    let mut session = guarding(&server, "READ COMMITTED", &first);
    tokio::time::sleep(ms(2_200)).await;
    assert!(!first.is_held());
    // Within its limit it is contended, and knows the transaction.
    let begun = Instant::now();
    let error = lock.clone().wait_timeout(ms(1_500)).acquire().await;
    let error = error.unwrap_err();
    assert!(begun.elapsed() < ms(4_000), "{:?}", begun.elapsed());
    assert!(error.is_contended(), "{error}");
    let pid = session.run("SELECT pg_backend_pid()");
    assert!(
        error.to_string().contains(&format!("of pid {pid}")),
        "{error}"
    );
    let waiter = waiting(&lock);
    tokio::time::sleep(ms(300)).await;
    assert!(!waiter.is_finished());
    assert_eq!(session.run("COMMIT"), "");
    let next = tokio::time::timeout(ms(10_000), waiter).await;
    let next = next.unwrap().unwrap();
    assert!(first.fence() < next.fence());
    // The transaction that begins now is too late.
    session.run("BEGIN");
    assert!(is_over(
        &session.run(&statement(first.name(), first.fence()))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_hold_is_not_guarded_any_more() {
    let server = Postgres::shared();
    let client = client(&server).await;
    let lock = client.lock(&unique_name()).lease_time(ms(300));
    let first = lock.watchdog(false).acquire().await.unwrap();
    tokio::time::sleep(ms(500)).await;
    let mut session = server.psql();
    session.run("BEGIN");
    let error = session.run(&statement(first.name(), first.fence()));
    assert!(error.contains("has expired"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misuse_fails_with_a_sentence() {
    let server = Postgres::shared();
    let (_client, _lock, guard) = hold(&server).await;
    let mut session = server.psql();
    let call = statement(guard.name(), guard.fence());
    let error = session.run(&call);
    assert!(error.contains("call it after BEGIN"), "{error}");
    session.run("BEGIN READ ONLY");
    let error = session.run(&call);
    assert!(error.contains("this one is read-only"), "{error}");
    session.run("ROLLBACK");
    session.run("BEGIN");
    let error = session.run("SELECT arbiter.guard(NULL, 1)");
    assert!(error.contains("no hold"), "{error}");
    session.run("ROLLBACK");
    session.run("BEGIN");
    let error = session.run(&format!(
        "SELECT arbiter.guard('{}', NULL::bigint)",
        guard.name()
    ));
    assert!(error.contains("has the fence NULL"), "{error}");
    session.run("ROLLBACK");
    // Several statements in one message are one transaction.
    let both = format!("BEGIN; {call}; COMMIT");
    assert!(server.try_sql(&both).is_ok());
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn savepoint_rolled_back_guards_nothing() {
    let server = Postgres::shared();
    let (_client, lock, first) = hold(&server).await;
    let mut session = server.psql();
    session.run("BEGIN");
    session.run("SAVEPOINT s");
    assert_eq!(session.run(&statement(first.name(), first.fence())), "");
    session.run("ROLLBACK TO SAVEPOINT s");
    first.release().await.unwrap();
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fence_as_text_prefix_and_schema_are_understood() {
    let server = Postgres::shared();
    let schema = format!("s{}", unique_name().replace('-', "_"));
    let url = format!("{}?schema={schema}", server.url());
    let builder = Client::builder().store(&url).logger(NoopLogger);
    let client = builder.key_prefix("app's:").connect().await.unwrap();
    let guard = client.lock("any 'name'\u{1}").acquire().await.unwrap();
    let statement = client.guard_sql().unwrap();
    assert_eq!(
        statement,
        format!("SELECT \"{schema}\".guard($1, $2, E'app''s:')")
    );
    let mut session = server.psql();
    session.run("BEGIN");
    let statement = statement.replace("$1", "E'any ''name''\\x01'");
    for fence in [guard.fence().to_string(), format!("'{}'", guard.fence())] {
        assert_eq!(session.run(&statement.replace("$2", &fence)), "");
    }
    let error = session.run(&statement.replace("$2", "'17'"));
    assert!(is_over(&error), "{error}");
    session.run("ROLLBACK");
    guard.release().await.unwrap();
    let redis = Client::in_memory().guard_sql();
    assert!(redis.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_and_execute_suffice_to_guard() {
    let server = Postgres::shared();
    let (_client, _lock, guard) = hold(&server).await;
    let role = format!("r{}", unique_name().replace('-', "_"));
    let _ = server.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA arbiter TO {role}"
    ));
    let mut session = Psql::open(&server.url_as(&role));
    session.run("BEGIN");
    assert_eq!(session.run(&statement(guard.name(), guard.fence())), "");
    assert_eq!(session.run("COMMIT"), "");
    let error = session.run("SELECT * FROM arbiter.names");
    assert!(error.contains("permission denied"), "{error}");
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_holds_are_guarded_one_by_one() {
    let server = Postgres::shared();
    let client = client(&server).await;
    let semaphore = client.semaphore(&unique_name(), 3);
    let one = semaphore.acquire().await.unwrap();
    let other = semaphore.acquire().await.unwrap();
    let mut session = server.psql();
    session.run("BEGIN");
    assert_eq!(session.run(&statement(one.name(), one.fence())), "");
    // Only the hold that it guards waits for the transaction.
    other.release().await.unwrap();
    let third = semaphore.acquire().await.unwrap();
    third.refresh().await.unwrap();
    one.refresh().await.unwrap();
    assert!(one.release().await.is_err());
    session.run("COMMIT");
    third.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn downgrade_ends_the_guard_of_a_writer() {
    let server = Postgres::shared();
    let client = client(&server).await;
    let lock = client.rw_lock(&unique_name());
    let writer = lock.write().await.unwrap();
    let mut session = guarding(&server, "READ COMMITTED", &writer);
    let error = writer.downgrade().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    session.run("COMMIT");
    writer.downgrade().await.unwrap();
    // As a reader, it is in force.
    session.run("BEGIN");
    assert_eq!(session.run(&statement(writer.name(), writer.fence())), "");
    session.run("COMMIT");
    writer.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_refuses_an_older_fence() {
    let server = Postgres::shared();
    client(&server).await;
    let name = unique_name();
    let mut session = server.psql();
    for (fence, passes) in [
        ("5", true),
        ("5", true),
        ("'4'", false),
        ("'6'", true),
        ("5", false),
    ] {
        let output = session.run(&format!("SELECT arbiter.check('{name}', {fence})"));
        assert_eq!(output.is_empty(), passes, "{fence}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_guard_slows_down_no_hot_row() {
    let server: Arc<Postgres> = Postgres::shared();
    let (_client, lock, first) = hold(&server).await;
    let mut session = guarding(&server, "REPEATABLE READ", &first);
    // Versions of rows that the transaction may see are not pruned.
    for _ in 0..500 {
        first.refresh().await.unwrap();
    }
    let begun = Instant::now();
    first.refresh().await.unwrap();
    assert!(begun.elapsed() < ms(3_000), "{:?}", begun.elapsed());
    session.run("COMMIT");
    first.release().await.unwrap();
    lock.acquire().await.unwrap().release().await.unwrap();
}
