//! Sessions: one logical owner with concurrent tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, Session};
use testkit::{Server, unique_name};

use crate::{acquire_and_release, one_worker};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[tokio::test]
async fn session_try_and_acquire_share_one_hold() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let session = client.session();
    let name = unique_name();
    // The server knows the script.
    acquire_and_release(&session.lock(&name)).await;
    let (trying, acquiring) = (session.lock(&name), session.lock(&name));
    let both = async { tokio::join!(trying.try_acquire(), acquiring.acquire()) };
    let (tried, acquired) = tokio::time::timeout(ms(3_000), both)
        .await
        .expect("the session waits for itself");
    assert_eq!(tried.unwrap().unwrap().fence(), acquired.unwrap().fence());
}

#[tokio::test]
async fn later_sharer_keeps_its_own_settings() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    let held = client.lock(&name).acquire().await.unwrap();
    let session = client.session();
    let first = session
        .lock(&name)
        .lease_time(ms(5_000))
        .wait_timeout(ms(200));
    let second = session
        .lock(&name)
        .lease_time(ms(10_000))
        .wait_timeout(ms(3_000));
    let first = tokio::spawn(async move { first.acquire().await });
    tokio::time::sleep(ms(50)).await;
    let second = tokio::spawn(async move { second.acquire().await });
    assert!(first.await.unwrap().unwrap_err().is_contended());
    tokio::time::sleep(ms(100)).await;
    held.release().await.unwrap();
    let got = second.await.unwrap();
    assert!(got.is_ok(), "no task of the session holds: {got:?}");
}

#[tokio::test]
async fn outage_during_session_wait_is_no_contention() {
    let mut server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let name = unique_name();
    let held = client.lock(&name).acquire().await.unwrap();
    let session = client.session();
    let lock = session.lock(&name).wait_timeout(ms(2_500));
    let plain = client.lock(&name).wait_timeout(ms(2_500));
    let waits = tokio::spawn(async move { lock.acquire().await });
    let plain = tokio::spawn(async move { plain.acquire().await });
    tokio::time::sleep(ms(300)).await;
    server.kill();
    let plain = plain.await.unwrap().unwrap_err();
    assert!(plain.is_unavailable(), "{plain}");
    let error = waits.await.unwrap().unwrap_err();
    drop(held);
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn limited_session_wait_outlasts_the_store_timeout() {
    let server = Server::start();
    let client = Client::builder()
        .store(&server.url())
        .store_timeout(ms(500))
        .command_timeout(ms(300))
        .connect()
        .await
        .unwrap();
    let name = unique_name();
    let session = client.session();
    server.stop();
    let plain = client.lock(&unique_name()).wait_timeout(ms(5_000));
    let lock = session.lock(&name).wait_timeout(ms(5_000));
    let plain = tokio::spawn(async move { plain.acquire().await });
    let waits = tokio::spawn(async move { lock.acquire().await });
    tokio::time::sleep(ms(1_800)).await;
    server.cont();
    assert!(plain.await.unwrap().is_ok());
    let got = waits.await.unwrap();
    assert!(got.is_ok(), "{got:?}");
}

/// Lets two tasks of one session wait, each on its own runtime, and runs `happens` on the first
/// runtime.
fn the_second_sharer_is_granted_whatever(happens: impl FnOnce(tokio::runtime::Runtime)) {
    let server = Server::start();
    let (one, two) = (one_worker(), one_worker());
    let client = two.block_on(Client::connect(&server.url())).unwrap();
    let name = unique_name();
    let held = two.block_on(client.lock(&name).acquire()).unwrap();
    let session = client.session();
    let (first, second) = (session.lock(&name), session.lock(&name));
    one.spawn(async move { first.acquire().await });
    std::thread::sleep(ms(200));
    let second = two.spawn(async move { second.acquire().await });
    std::thread::sleep(ms(200));
    happens(one);
    two.block_on(held.release()).unwrap();
    let got = two.block_on(async { tokio::time::timeout(ms(5_000), second).await });
    drop(got.expect("hangs").expect("panicked").unwrap());
}

#[test]
fn session_survives_the_runtime_of_one_sharer() {
    the_second_sharer_is_granted_whatever(|one| one.shutdown_timeout(ms(500)));
}

#[test]
fn session_survives_the_blocked_runtime_of_one_sharer() {
    the_second_sharer_is_granted_whatever(|one| {
        one.spawn(async { std::thread::sleep(ms(8_000)) });
        std::thread::sleep(ms(100));
        one.shutdown_background();
    });
}

#[tokio::test]
async fn second_sharer_continues_without_the_first() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    for kind in 0..2 {
        let name = unique_name();
        let held = client.lock(&name).acquire().await.unwrap();
        let session = client.session();
        let lock = session.lock(&name);
        let mut first = Box::pin(async move { lock.acquire().await });
        let _ = tokio::time::timeout(ms(100), first.as_mut()).await;
        let lock = session.lock(&name);
        let second = tokio::spawn(async move { lock.acquire().await.map(|g| (g, Instant::now())) });
        tokio::time::sleep(ms(100)).await;
        let kept = (kind == 0).then_some(first);
        tokio::time::sleep(ms(100)).await;
        let released = Instant::now();
        held.release().await.unwrap();
        let (guard, at) = tokio::time::timeout(ms(3_000), second)
            .await
            .expect("hangs")
            .unwrap()
            .unwrap();
        println!("after {:?}", at - released);
        guard.release().await.unwrap();
        drop(kept);
        tokio::time::sleep(ms(200)).await;
        assert!(!client.lock(&name).inspect().await.unwrap().is_held());
    }
}

#[tokio::test]
async fn waiter_keeps_place_while_session_acquires_another() {
    let client = Client::in_memory();
    let held = client.lock("a").acquire().await.unwrap();
    let session = client.session();
    let lock = session.lock("a");
    let mut first = tokio::spawn(async move { lock.acquire().await.unwrap() });
    tokio::time::sleep(ms(50)).await;
    let lock = client.lock("a");
    let second = tokio::spawn(async move { lock.acquire().await.unwrap() });
    tokio::time::sleep(ms(50)).await;
    drop(session.lock("b").acquire().await.unwrap());
    tokio::time::sleep(ms(50)).await;
    held.release().await.unwrap();
    let got = tokio::time::timeout(ms(1_000), &mut first).await;
    let got = got.expect("another was granted before it").unwrap();
    assert!(!second.is_finished());
    got.release().await.unwrap();
    drop(second.await.unwrap());
}

#[tokio::test]
async fn concurrent_reads_of_a_session_share_one_hold() {
    let client = Client::in_memory();
    let session = client.session();
    let lock = session.rw_lock("l");
    let (one, other) = tokio::join!(lock.try_read(), lock.try_read());
    let (one, other) = (one.unwrap().unwrap(), other.unwrap().unwrap());
    assert_eq!(one.fence(), other.fence());
    let status = client.lock("l").inspect().await.unwrap();
    assert_eq!(status.sharing.unwrap().count, 1);
    one.release().await.unwrap();
    assert!(other.is_held());
    other.release().await.unwrap();
    assert!(client.lock("l").try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn run_of_a_session_shares_its_hold() {
    let client = Client::in_memory();
    let session = client.session();
    let (lock, rw_lock) = (session.lock("l"), session.rw_lock("l"));
    let fences = rw_lock.run_write(async |outer| {
        let inner = rw_lock.run_read(async |inner| inner.fence()).await;
        (outer.fence(), inner.unwrap())
    });
    let (outer, inner) = fences.await.unwrap();
    assert_eq!(outer, inner);
    let upgrade = rw_lock.run_read(|_| lock.run(async |_| ())).await;
    assert!(matches!(upgrade, Ok(Err(arbiter_lock::Error::Invalid(_)))));
    assert!(client.lock("l").try_acquire().await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_releases_of_a_session_all_succeed() {
    let client = Client::in_memory();
    let session = client.session();
    let lock = session.lock("l");
    for turn in 0..5_000 {
        let both = [lock.acquire().await.unwrap(), lock.acquire().await.unwrap()];
        let ready = Arc::new(AtomicUsize::new(0));
        let releasing = both.map(|guard| {
            let ready = ready.clone();
            tokio::spawn(async move {
                ready.fetch_add(1, Ordering::SeqCst);
                while ready.load(Ordering::SeqCst) < 2 {
                    tokio::task::yield_now().await;
                }
                guard.release().await
            })
        });
        for released in releasing {
            assert!(released.await.unwrap().is_ok(), "in turn {turn}");
        }
        assert!(!lock.inspect().await.unwrap().is_held());
    }
}

/// How many tasks of a session write and read now.
#[derive(Default)]
struct HoldCounts {
    writing: AtomicUsize,
    reading: AtomicUsize,
}

/// Reads and writes a hundred times. Asserts that no hold of the other session conflicts.
async fn read_and_write(
    session: Arc<Session>,
    mine: Arc<HoldCounts>,
    others: Arc<HoldCounts>,
    n: usize,
) {
    let count = |counts: &AtomicUsize| counts.load(Ordering::SeqCst);
    let lock = session.rw_lock("l");
    for turn in 0..100 {
        let (held, guard) = if (turn + n).is_multiple_of(3) {
            match lock.write().await {
                Ok(guard) => (&mine.writing, guard),
                Err(Error::Invalid(_)) => continue, // the session reads
                Err(error) => panic!("{error}"),
            }
        } else {
            (&mine.reading, lock.read().await.unwrap())
        };
        held.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            let alone = 0 < count(&mine.writing);
            assert_eq!(
                count(&others.writing),
                0,
                "two sessions, one of which writes"
            );
            assert!(!alone || count(&others.reading) == 0);
            tokio::task::yield_now().await;
        }
        held.fetch_sub(1, Ordering::SeqCst);
        if turn.is_multiple_of(2) {
            match guard.downgrade().await {
                Ok(()) | Err(Error::Invalid(_)) => {} // another writes
                Err(error) => panic!("{error}"),
            }
        }
        guard.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_two_sessions_never_conflict() {
    let client = Client::in_memory();
    let counts: [Arc<HoldCounts>; 2] = Default::default();
    let mut tasks = tokio::task::JoinSet::new();
    for which in 0..2 {
        let session = Arc::new(client.session());
        for n in 0..3 {
            let (mine, others) = (counts[which].clone(), counts[1 - which].clone());
            tasks.spawn(read_and_write(session.clone(), mine, others, n));
        }
    }
    let done = tokio::time::timeout(ms(9_000), tasks.join_all()).await;
    done.expect("a wake-up was lost");
}
