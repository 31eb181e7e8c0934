//! Sessions of one client that wait for each other, and waits that only resemble a deadlock.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, Lock, Session, block_on};
use testkit::{Server, unique_name};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::one_worker;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Longer than it takes to detect a cycle.
const LONG: Duration = Duration::from_secs(20);

type Waits = JoinHandle<Result<Guard, Error>>;

fn waits(lock: Lock) -> Waits {
    tokio::spawn(async move { lock.acquire().await })
}

fn waits_to_write(session: &Session, name: &str) -> Waits {
    let lock = session.rw_lock(name);
    tokio::spawn(async move { lock.write().await })
}

async fn queued(client: &Client, name: &str, count: u64) {
    while client.lock(name).inspect().await.unwrap().waiting < count {
        sleep(ms(5)).await;
    }
}

/// Returns the names of the cycle that ends the wait.
async fn circle(waits: Waits) -> Vec<String> {
    match timeout(LONG, waits).await.expect("it hangs").unwrap() {
        Err(Error::Deadlock(deadlock)) => deadlock.names,
        other => panic!("{other:?}"),
    }
}

async fn granted(waits: Waits) -> Guard {
    timeout(LONG, waits)
        .await
        .expect("it hangs")
        .unwrap()
        .unwrap()
}

/// Lets each of that many sessions hold a name and wait for the next one's. The last to wait gets
/// the error.
async fn the_last_gives_way(client: &Client, count: usize) {
    let names: Vec<_> = (0..count).map(|_| unique_name()).collect();
    let sessions: Vec<_> = (0..count).map(|_| client.session()).collect();
    let mut guards = Vec::new();
    for (session, name) in sessions.iter().zip(&names) {
        guards.push(session.lock(name).acquire().await.unwrap());
    }
    let mut waiting = Vec::new();
    for (n, session) in sessions.iter().enumerate() {
        let next = &names[(n + 1) % count];
        waiting.push(waits(session.lock(next)));
        queued(client, next, 1).await;
    }
    let begun = Instant::now();
    assert_eq!(circle(waiting.pop().unwrap()).await, names);
    assert!(ms(800) < begun.elapsed(), "{:?}", begun.elapsed());
    sleep(ms(2_500)).await;
    assert!(waiting.iter().all(|wait| !wait.is_finished()), "one only");
    // It releases, and the others are granted one after the other.
    while let (Some(guard), Some(wait)) = (guards.pop(), waiting.pop()) {
        guard.release().await.unwrap();
        granted(wait).await.release().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_cycle_of_sessions_is_an_error() {
    for count in [2, 3, 5] {
        the_last_gives_way(&Client::in_memory(), count).await;
    }
}

#[tokio::test]
async fn waiting_cycle_on_a_server_is_an_error() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    the_last_gives_way(&client, 3).await;
}

#[test]
fn waiting_cycle_across_runtimes_is_an_error() {
    let server = Server::start();
    let (one, two) = (one_worker(), one_worker());
    let client = one.block_on(Client::connect(&server.url())).unwrap();
    let [a, b] = [(); 2].map(|()| client.session());
    let (x, y) = (unique_name(), unique_name());
    let _x = one.block_on(a.lock(&x).acquire()).unwrap();
    let held = two.block_on(b.lock(&y).acquire()).unwrap();
    let lock = a.lock(&y);
    let first = one.spawn(async move { lock.acquire().await });
    one.block_on(queued(&client, &y, 1));
    let error = block_on(b.lock(&x).acquire()).unwrap_err();
    assert!(error.is_deadlock(), "{error}");
    assert_eq!(error.name(), Some(&*x));
    drop(held);
    drop(one.block_on(granted(first)));
}

#[tokio::test(start_paused = true)]
async fn readers_waiting_to_write_form_a_cycle() {
    let client = Client::in_memory();
    let [a, b] = [(); 2].map(|()| client.session());
    let x = a.rw_lock("x").read().await.unwrap();
    let _another = Client::in_memory();
    let y = b.rw_lock("y").read().await.unwrap();
    let also = client.rw_lock("x").read().await.unwrap();
    let first = waits_to_write(&a, "y");
    queued(&client, "y", 1).await;
    let second = waits_to_write(&b, "x");
    assert_eq!(circle(second).await, ["x", "y"]);
    y.release().await.unwrap();
    drop(granted(first).await);
    drop((x, also));
}

#[tokio::test(start_paused = true)]
async fn reader_behind_waiting_writer_is_in_the_cycle() {
    let client = Client::in_memory();
    let [a, b, c] = [(); 3].map(|()| client.session());
    let x = a.rw_lock("x").read().await.unwrap();
    let y = c.lock("y").acquire().await.unwrap();
    let writer = waits_to_write(&b, "x");
    queued(&client, "x", 1).await;
    let reader = c.rw_lock("x");
    let reader: Waits = tokio::spawn(async move { reader.read().await });
    queued(&client, "x", 2).await;
    let last = waits(a.lock("y"));
    assert_eq!(circle(last).await, ["y", "x"]);
    x.release().await.unwrap();
    granted(writer).await.release().await.unwrap();
    granted(reader).await.release().await.unwrap();
    drop(y);
}

#[tokio::test(start_paused = true)]
async fn reader_behind_external_writer_is_in_no_cycle() {
    let client = Client::connect("memory:readers").await.unwrap();
    let other = Client::connect("memory:readers").await.unwrap();
    let [a, c] = [(); 2].map(|()| client.session());
    let x = a.rw_lock("x").read().await.unwrap();
    let y = c.lock("y").acquire().await.unwrap();
    // The writer belongs to another client, which may stop waiting.
    let writer = other.rw_lock("x").wait_timeout(LONG / 2);
    let writer = tokio::spawn(async move { writer.write().await });
    queued(&client, "x", 1).await;
    let reader = c.rw_lock("x");
    let reader: Waits = tokio::spawn(async move { reader.read().await });
    queued(&client, "x", 2).await;
    let last = waits(a.lock("y"));
    assert!(writer.await.unwrap().unwrap_err().is_contended());
    granted(reader).await.release().await.unwrap();
    y.release().await.unwrap();
    drop(granted(last).await);
    drop(x);
}

/// Checks that all waits are still pending after the time in which a cycle is detected.
async fn assert_waiting(waits: &[&Waits]) {
    sleep(ms(8_000)).await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
}

#[tokio::test(start_paused = true)]
async fn waits_without_a_session_form_no_cycle() {
    let client = Client::in_memory();
    let session = client.session();
    let x = client.lock("x").acquire().await.unwrap();
    let y = session.lock("y").acquire().await.unwrap();
    let first = waits(client.lock("y"));
    let second = waits(session.lock("x"));
    assert_waiting(&[&first, &second]).await;
    drop(x);
    granted(second).await.release().await.unwrap();
    drop(y);
    drop(granted(first).await);
    let outer = client.lock("l").acquire().await.unwrap();
    let nested = waits(client.lock("l"));
    assert_waiting(&[&nested]).await;
    drop(outer);
    drop(granted(nested).await);
}

#[tokio::test(start_paused = true)]
async fn name_of_another_client_breaks_the_proof() {
    let client = Client::connect("memory:proof").await.unwrap();
    let other = Client::connect("memory:proof").await.unwrap();
    let [a, b] = [(); 2].map(|()| client.session());
    let external = other.session();
    let x = a.lock("x").acquire().await.unwrap();
    let y = b.lock("y").acquire().await.unwrap();
    let z = external.lock("z").acquire().await.unwrap();
    // It is a cycle, but the client does not see its middle.
    let all = [
        waits(a.lock("y")),
        waits(b.lock("z")),
        waits(external.lock("x")),
    ];
    assert_waiting(&[&all[0], &all[1], &all[2]]).await;
    let [first, second, third] = all;
    drop(z);
    drop(granted(second).await);
    drop(y);
    drop(granted(first).await);
    drop(x);
    drop(granted(third).await);
}

#[tokio::test(start_paused = true)]
async fn release_within_a_poll_is_no_deadlock() {
    let client = Client::in_memory();
    let [a, b] = [(); 2].map(|()| client.session());
    let x = a.lock("x").acquire().await.unwrap();
    let y = b.lock("y").acquire().await.unwrap();
    let first = waits(a.lock("y"));
    queued(&client, "y", 1).await;
    let second = waits(b.lock("x"));
    // Another task of the session releases.
    sleep(ms(700)).await;
    x.release().await.unwrap();
    granted(second).await.release().await.unwrap();
    y.release().await.unwrap();
    drop(granted(first).await);
}

#[tokio::test(start_paused = true)]
async fn lost_hold_or_dropped_wait_breaks_the_cycle() {
    for is_lost in [true, false] {
        let client = Client::in_memory();
        let [a, b] = [(); 2].map(|()| client.session());
        let x = a.lock("x").acquire().await.unwrap();
        let y = b.lock("y").acquire().await.unwrap();
        let first = waits(a.lock("y"));
        queued(&client, "y", 1).await;
        let second = waits(b.lock("x"));
        sleep(ms(500)).await;
        if is_lost {
            // Its guard remains, and so does the hold in the store until its lease ends.
            client
                .testing()
                .lose("x", arbiter_lock::LostReason::Expired);
        } else {
            first.abort();
        }
        sleep(ms(8_000)).await;
        assert!(!second.is_finished(), "{is_lost}");
        drop(x);
        drop(granted(second).await);
        drop(y);
    }
}

#[tokio::test(start_paused = true)]
async fn limited_wait_ends_by_timeout_or_deadlock() {
    for (limit, is_deadlock) in [(500, false), (5_000, true)] {
        let client = Client::in_memory();
        let [a, b] = [(); 2].map(|()| client.session());
        let x = a.lock("x").acquire().await.unwrap();
        let _y = b.lock("y").acquire().await.unwrap();
        let _first = waits(a.lock("y"));
        queued(&client, "y", 1).await;
        let second = b.lock("x").wait_timeout(ms(limit)).acquire().await;
        let error = second.unwrap_err();
        assert_eq!(error.is_deadlock(), is_deadlock, "{error}");
        assert_eq!(error.is_contended(), !is_deadlock, "{error}");
        drop(x);
    }
}

#[tokio::test(start_paused = true)]
async fn unpolled_wait_is_in_no_cycle() {
    let client = Client::in_memory();
    let [a, b] = [(); 2].map(|()| client.session());
    let x = a.lock("x").acquire().await.unwrap();
    let _y = b.lock("y").acquire().await.unwrap();
    let lock = a.lock("y");
    let mut unpolled = Box::pin(lock.acquire());
    assert!(timeout(ms(10), &mut unpolled).await.is_err());
    sleep(ms(3_000)).await;
    let second = waits(b.lock("x"));
    assert_waiting(&[&second]).await;
    drop((unpolled, x));
    drop(granted(second).await);
}
