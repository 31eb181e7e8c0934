//! PgBouncer between clients and a PostgreSQL server: each transaction has any connection.

use std::sync::Arc;
use std::time::Instant;

use arbiter_lock::{Client, NoopLogger};
use testkit::{Pooler, Postgres, unique_name};
use tokio::task::JoinSet;

use crate::acquire_and_release;
use crate::postgres_faults::{client, granted_in_order, ms, queue, under_load};
use crate::stress::Register;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_behind_a_pooler_poll() {
    let server = Postgres::start();
    let pooler = Pooler::before(&server, 2);
    let (holder, other) = (client(&pooler.url()).await, client(&pooler.url()).await);
    let name = unique_name();
    let guard = holder.lock(&name).acquire().await.unwrap();
    let waiters = queue(&other.lock(&name), 3).await;
    let fence = guard.fence();
    guard.release().await.unwrap();
    granted_in_order(waiters, fence).await;
    let checks = holder.diagnose(ms(10_000)).await.unwrap();
    let text = format!("{checks:?}");
    assert!(text.contains("a pooler is in front"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listening_past_a_pooler_notifies_waiters() {
    let server = Postgres::start();
    let pooler = Pooler::before(&server, 2);
    let url = format!("{}?listen=127.0.0.1:{}", pooler.url(), server.port());
    let (holder, other) = (client(&url).await, client(&url).await);
    let name = unique_name();
    for _ in 0..3 {
        let guard = holder.lock(&name).acquire().await.unwrap();
        let waiters = queue(&other.lock(&name), 1).await;
        tokio::time::sleep(ms(100)).await;
        let released = Instant::now();
        guard.release().await.unwrap();
        for waiter in waiters {
            let next = waiter.await.unwrap();
            let waited = released.elapsed();
            assert!(waited < ms(500), "{waited:?}: it was not notified");
            next.release().await.unwrap();
        }
        // The session that listens ends, and is replaced.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'";
        let _ = server.sql(end);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_two_server_connections() {
    let server = Postgres::start();
    let pooler = Pooler::before(&server, 2);
    let url = format!("{}?listen=127.0.0.1:{}", pooler.url(), server.port());
    let mut clients = Vec::new();
    for _ in 0..4 {
        // CI is slow, and each step meets those of the others.
        let builder = Client::builder().store(&url).logger(NoopLogger);
        let builder = builder.command_timeout(ms(5_000));
        clients.push(builder.connect().await.unwrap());
    }
    let registers: [Arc<Register>; 8] = Default::default();
    let mut tasks = JoinSet::new();
    for n in 0..64 {
        let (lock, register) = (n % 8, registers[n % 8].clone());
        let lock = clients[n / 16].lock(&format!("l{lock}"));
        tasks.spawn(async move {
            for _ in 0..8 {
                let guard = lock.acquire().await.unwrap();
                register.enter(guard.hold());
                guard.release().await.unwrap();
            }
        });
    }
    let all = tokio::time::timeout(ms(60_000), tasks.join_all()).await;
    assert!(all.is_ok(), "some tasks starve");
    let through = "SELECT count(*) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
                     AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";
    let through: u32 = server.sql(through).parse().unwrap();
    assert!(through <= 2, "{through} connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_never_overlap_behind_a_failing_pooler() {
    let mut server = Postgres::builder().start();
    let mut pooler = Pooler::before(&server, 2);
    // The last one polls.
    let listens = format!("{}?listen=127.0.0.1:{}", pooler.url(), server.port());
    let urls = [listens.clone(), listens, pooler.url()];
    let end = Instant::now() + testkit::soak_time(ms(5_000));
    under_load(&urls, end, || {
        let mut round = 0;
        while Instant::now() < end {
            std::thread::sleep(ms(400));
            round += 1;
            match round % 4 {
                0 => pooler.restart(),
                2 => {
                    server.kill();
                    server.restart();
                }
                _ => {
                    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
                    let _ = server.try_sql(end);
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_role_works_behind_a_pooler() {
    let server = Postgres::start();
    let _ = server.sql(
        "ALTER ROLE postgres SET default_transaction_read_only = on;
         ALTER ROLE postgres SET default_transaction_isolation = 'serializable';
         ALTER ROLE postgres SET statement_timeout = '1ms';
         ALTER ROLE postgres SET lock_timeout = '1ms'",
    );
    let pooler = Pooler::before(&server, 2);
    let client = client(&pooler.url()).await;
    for _ in 0..20 {
        let lock = client.lock(&unique_name()).wait_timeout(ms(5_000));
        acquire_and_release(&lock).await;
    }
}
