//! Roles, rights, databases and limits of a PostgreSQL server, and the remains of clients in it.

use std::time::{Duration, Instant};

use arbiter_lock::{Begun, Client, Error, NoopLogger, postgres_schema};
use testkit::{Postgres, Psql, eventually, eventually_async, unique_name};

use crate::acquire_and_release;
use crate::cancellation::poll_times;
use crate::postgres_faults::{client, ms, queue, sessions};

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the error of a client that cannot connect.
async fn refused(url: &str) -> Error {
    let builder = Client::builder().store(url).logger(NoopLogger);
    builder.connect().await.unwrap_err()
}

/// Uses every primitive once.
async fn use_everything(url: &str) {
    let (client, other) = (client(url).await, client(url).await);
    let name = unique_name();
    let lock = client.lock(&name);
    let guard = lock.acquire().await.unwrap();
    guard.refresh().await.unwrap();
    assert!(other.lock(&name).try_acquire().await.unwrap().is_none());
    let waiters = queue(&other.lock(&name), 2).await;
    guard.release().await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap().release().await.unwrap();
    }
    let rw_lock = client.rw_lock(&unique_name());
    let writer = rw_lock.write().await.unwrap();
    writer.downgrade().await.unwrap();
    let reader = rw_lock.read().await.unwrap();
    drop((writer, reader));
    let semaphore = client.semaphore(&unique_name(), 2);
    let permits = semaphore.acquire_many(2).await.unwrap();
    semaphore.resize(3).await.unwrap();
    drop(permits);
    let all = client.lock_all([unique_name(), unique_name()]);
    all.acquire().await.unwrap().release().await.unwrap();
    let leadership = client.election(&unique_name()).campaign("node").await;
    drop(leadership.unwrap());
    let job = client.once(&unique_name()).every(HOUR);
    let ran = job.run(|_| async { Ok::<_, Error>(()) }).await;
    let _ = ran.unwrap();
    assert!(job.last_run().await.unwrap().is_some());
    assert!(!matches!(job.begin().await.unwrap(), Begun::Run(_)));
    let checks = client.diagnose(ms(10_000)).await.unwrap();
    assert!(!checks.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_settings_of_a_role_change_nothing() {
    let server = Postgres::builder().setting("fsync", "off").start();
    let _ = server.sql(
        "CREATE ROLE app LOGIN;
         GRANT CREATE ON DATABASE postgres TO app;
         CREATE SCHEMA decoy AUTHORIZATION app;
         ALTER ROLE app SET statement_timeout = '1ms';
         ALTER ROLE app SET lock_timeout = '1ms';
         ALTER ROLE app SET idle_in_transaction_session_timeout = '1ms';
         ALTER ROLE app SET idle_session_timeout = '300ms';
         ALTER ROLE app SET search_path = 'decoy';
         ALTER ROLE app SET default_transaction_isolation = 'serializable';
         ALTER ROLE app SET default_transaction_deferrable = on;
         ALTER ROLE app SET default_transaction_read_only = on;
         ALTER ROLE app SET synchronous_commit = off;
         ALTER ROLE app SET client_min_messages = 'error';
         ALTER ROLE app SET DateStyle = 'German';
         ALTER ROLE app SET extra_float_digits = 0;
         ALTER ROLE app SET TimeZone = 'Asia/Kathmandu';
         ALTER ROLE app SET standard_conforming_strings = off;
         ALTER ROLE app SET bytea_output = 'escape'",
    );
    let url = server.url_as("app");
    use_everything(&url).await;
    let decoys = server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'decoy'");
    assert_eq!(decoys, "0");
    // An idle session is not ended: its waiter is notified.
    let (holder, other) = (client(&url).await, client(&url).await);
    let name = unique_name();
    let guard = holder.lock(&name).acquire().await.unwrap();
    let waiters = queue(&other.lock(&name), 1).await;
    tokio::time::sleep(ms(600)).await;
    guard.release().await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap().release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_are_durable_whatever_the_role_sets() {
    let server = Postgres::start();
    let _ = server.sql(
        "CREATE ROLE app LOGIN;
         GRANT CREATE ON DATABASE postgres TO app;
         ALTER ROLE app SET synchronous_commit = off",
    );
    let client = client(&server.url_as("app")).await;
    acquire_and_release(&client.lock(&unique_name())).await;
    // Notes the setting of each write of a hold.
    let _ = server.sql(
        "CREATE TABLE noted (holds boolean, setting text);
         GRANT INSERT ON noted TO app;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.noted
           VALUES (new.owner IS NOT NULL, current_setting('synchronous_commit'));
           RETURN new;
         END $$;
         CREATE TRIGGER note BEFORE INSERT OR UPDATE ON arbiter.names
         FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let lock = client.lock(&unique_name());
    let guard = lock.acquire().await.unwrap();
    guard.refresh().await.unwrap();
    guard.release().await.unwrap();
    let noted = server.sql("SELECT holds, setting, count(*) FROM noted GROUP BY 1, 2 ORDER BY 1");
    assert_eq!(noted, "f|off|1\nt|on|2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_limit_is_named_and_recovered_from() {
    let builder = Postgres::builder().setting("fsync", "off");
    let server = builder.setting("max_connections", "8").start();
    let _ = server.sql("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app");
    let url = server.url_as("app");
    let early = client(&url).await;
    // Roles that are not superusers have five in all.
    let mut others = Vec::from_iter((0..5 - sessions(&server)).map(|_| Psql::open(&url)));
    for other in &mut others {
        assert_eq!(other.run("SELECT 1"), "1");
    }
    let error = refused(&url).await;
    assert!(error.is_unavailable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("connection"), "{text}");
    let late = Client::builder().store(&url).logger(NoopLogger);
    let late = late.connect_lazy().unwrap();
    let name = unique_name();
    let lock = late.lock(&name).wait_timeout(ms(10_000));
    let waiting = tokio::spawn(async move { acquire_and_release(&lock).await });
    tokio::time::sleep(ms(300)).await;
    acquire_and_release(&early.lock(&name)).await;
    assert!(!waiting.is_finished());
    drop(others);
    waiting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_are_named_with_advice() {
    let server = Postgres::start();
    let _ = server.sql("CREATE ROLE app LOGIN; CREATE ROLE stranger LOGIN");
    let denied = async |user: &str| {
        let text = refused(&server.url_as(user)).await.to_string();
        assert!(text.contains("denies access"), "{text}");
        assert!(text.contains("permission denied"), "{text}");
        assert!(text.contains("arbiter store init --print"), "{text}");
    };
    denied("app").await;
    let _ = server.sql(&postgres_schema("arbiter", Some("app")));
    use_everything(&server.url_as("app")).await;
    // It can be run again, and for another role.
    let _ = server.sql(&postgres_schema("arbiter", Some("app")));
    denied("stranger").await;
    let _ = server.sql("GRANT USAGE ON SCHEMA arbiter TO stranger");
    denied("stranger").await;
    let _ = server.sql(&postgres_schema("arbiter", Some("stranger")));
    use_everything(&server.url_as("stranger")).await;
    // A right that goes while clients work.
    let app = client(&server.url_as("app")).await;
    let lock = app.lock(&unique_name());
    acquire_and_release(&lock).await;
    let _ = server.sql("REVOKE UPDATE ON arbiter.names FROM app");
    let error = lock.acquire().await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
    let _ = server.sql("GRANT UPDATE ON arbiter.names TO app");
    acquire_and_release(&lock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_and_databases_fail_at_once() {
    let hba = "host all postgres 127.0.0.1/32 trust\n\
               host all all 127.0.0.1/32 scram-sha-256\n";
    let server = Postgres::builder().setting("fsync", "off").hba(hba).start();
    let _ = server.sql("CREATE ROLE app LOGIN PASSWORD 'right'");
    let _ = server.sql(
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    let of = |user: &str, database: &str| {
        format!("postgres://{user}@127.0.0.1:{}/{database}", server.port())
    };
    for (url, why) in [
        (
            of("app:wrong", "postgres"),
            "password authentication failed",
        ),
        (of("app", "postgres"), "password"),
        (
            of("unknown:right", "postgres"),
            "password authentication failed",
        ),
        (of("postgres", "missing"), "\"missing\" does not exist"),
        (of("postgres", "latin"), "LATIN1"),
    ] {
        let begun = Instant::now();
        let error = refused(&url).await;
        let text = error.to_string();
        assert!(text.contains(why), "{url}: {text}");
        assert!(!text.contains("wrong"), "{text}");
        let lazy = Client::builder().store(&url).logger(NoopLogger);
        let lazy = lazy.connect_lazy().unwrap();
        let lock = lazy.lock("l").wait_timeout(ms(60_000));
        let error = lock.acquire().await.unwrap_err();
        assert!(error.to_string().contains(why), "{url}: {error}");
        assert!(begun.elapsed() < ms(30_000), "{url}: it is permanent");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disk_is_waited_out() {
    let server = Postgres::start();
    let client = client(&server.url()).await;
    let name = unique_name();
    acquire_and_release(&client.lock(&name)).await;
    // The server's answer when a file cannot grow.
    let _ = server.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'could not extend file: No space left on device'
           USING ERRCODE = '53100';
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON arbiter.names
         FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let error = client.lock(&name).try_acquire().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    let lock = client.lock(&name).wait_timeout(ms(10_000));
    let waiting = tokio::spawn(async move { acquire_and_release(&lock).await });
    tokio::time::sleep(ms(300)).await;
    assert!(!waiting.is_finished());
    let _ = server.sql("DROP TRIGGER refuse ON arbiter.names");
    waiting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_client_leaves_no_session_and_no_row() {
    let server = Postgres::start();
    let name = unique_name();
    let app = unique_name();
    {
        let builder = Client::builder().store(&server.url()).logger(NoopLogger);
        let client = builder.client_name(&app).connect().await.unwrap();
        let guard = client.lock(&name).acquire().await.unwrap();
        let readers = client.rw_lock(&unique_name());
        let reader = readers.read().await.unwrap();
        let mut waiters = queue(&client.lock(&name), 2).await;
        waiters.iter().for_each(tokio::task::JoinHandle::abort);
        for waiter in &mut waiters {
            assert!(waiter.await.is_err());
        }
        drop((guard, reader));
    }
    let sessions =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%{app}%'");
    let held = "SELECT (SELECT count(*) FROM arbiter.names
                        WHERE owner IS NOT NULL OR sharers > 0 OR waiting + skipped > 0)
                     + (SELECT count(*) FROM arbiter.shared)
                     + (SELECT count(*) FROM arbiter.waiters)";
    let is_clean = || server.sql(&sessions) == "0" && server.sql(held) == "0";
    assert!(
        eventually(ms(3_000), is_clean),
        "{} sessions, {} rows",
        server.sql(&sessions),
        server.sql(held)
    );
}

/// Polls a future that many times, or for a moment, then drops it.
async fn some_polls<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let polled = poll_times(times, future);
    tokio::time::timeout(ms(100), polled).await.ok().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquire_dropped_after_any_poll_leaves_nothing() {
    let server = Postgres::start();
    let client = client(&server.url()).await;
    let mut acquired = 0;
    for times in 0..14 {
        let name = format!("free {times}");
        let lock = client.lock(&name);
        acquired += usize::from(some_polls(times, lock.acquire()).await.is_some());
        acquire_and_release(&lock.wait_timeout(ms(5_000))).await;

        let name = format!("held {times}");
        let guard = client.lock(&name).acquire().await.unwrap();
        let lock = client.lock(&name);
        assert!(some_polls(times, lock.acquire()).await.is_none());
        drop(some_polls(times, guard.release()).await);
        let readers = client.rw_lock(&name).wait_timeout(ms(5_000));
        drop(some_polls(times, readers.read()).await);
        let writer = readers.write().await.unwrap();
        drop(some_polls(times, writer.downgrade()).await);
        drop(writer);
    }
    assert!(0 < acquired);
    let rows = "SELECT (SELECT count(*) FROM arbiter.names
                        WHERE owner IS NOT NULL OR sharers > 0 OR waiting + skipped > 0)
                     + (SELECT count(*) FROM arbiter.shared)
                     + (SELECT count(*) FROM arbiter.waiters)";
    let is_clean = || server.sql(rows) == "0";
    assert!(
        eventually_async(ms(3_000), is_clean).await,
        "{}",
        server.sql(rows)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_and_schemas_keep_clients_apart() {
    let server = Postgres::start();
    let name = unique_name();
    let odd = format!("{}?schema=o%22d%20%27$$a$d", server.url());
    let (mut guards, mut fences) = (Vec::new(), Vec::new());
    for url in [server.url(), odd, format!("{}?schema=B", server.url())] {
        for prefix in ["arbiter:", "b:", "b:%", "_", "{}"] {
            let builder = Client::builder().store(&url).logger(NoopLogger);
            let client = builder.key_prefix(prefix).connect().await.unwrap();
            let guard = client.lock(&name).try_acquire().await.unwrap();
            let guard = guard.expect("a free lock of this prefix and schema");
            assert!(client.lock(&name).try_acquire().await.unwrap().is_none());
            let mut list = client.list("*");
            let listed = list.next().await.unwrap().unwrap();
            assert_eq!(listed.name, name);
            assert!(list.next().await.unwrap().is_none(), "{prefix:?}");
            fences.push(guard.fence());
            guards.push(guard);
        }
    }
    assert!(guards.iter().all(|guard| guard.is_held()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_names_are_deleted() {
    let server = Postgres::start();
    let client = client(&server.url()).await;
    for n in 0..100 {
        acquire_and_release(&client.lock(&format!("old {n}"))).await;
    }
    let job = client.once("old job").every(HOUR);
    let ran = job.run(|_| async { Ok::<_, Error>(()) }).await;
    let _ = ran.unwrap();
    let held = client.lock("held").acquire().await.unwrap();
    let names = "SELECT count(*) FROM arbiter.names WHERE name LIKE '%old%'";
    assert_eq!(server.sql(names), "101");
    // Their memory passes.
    let _ = server.sql(
        "UPDATE arbiter.names SET fence_until = 1, queue_until = 1;
         UPDATE arbiter.runs SET until = 1",
    );
    let begun = Instant::now();
    let left =
        || server.sql(names) != "0" || server.sql("SELECT count(*) FROM arbiter.runs") != "0";
    while left() {
        assert!(
            begun.elapsed() < ms(15_000),
            "{} are left",
            server.sql(names)
        );
        held.refresh().await.unwrap();
        tokio::time::sleep(ms(50)).await;
    }
    assert!(held.is_held());
    held.release().await.unwrap();
}
