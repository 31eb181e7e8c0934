//! Go clients and Arbiter clients exclude each other on the same key.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arbiter_lock::Client;
use testkit::{GoLock, Server, unique_name};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The critical section. Panics if two clients are inside.
#[derive(Default)]
struct Section {
    taken: AtomicBool,
    entries: AtomicUsize,
}

impl Section {
    fn enter(&self) {
        assert!(
            !self.taken.swap(true, Ordering::SeqCst),
            "two holders at once"
        );
        self.entries.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self) {
        assert!(
            self.taken.swap(false, Ordering::SeqCst),
            "another client left for us"
        );
    }
}

/// Acquires and releases in a loop on a new runtime. Returns the longest wait.
fn ours(
    server: &Server,
    name: &str,
    section: &Section,
    shares: &AtomicUsize,
    until: impl Fn() -> bool,
) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = Client::connect(&server.url()).await.unwrap();
        let lock = client.lock(name);
        let mut longest = Duration::ZERO;
        while until() {
            let begun = Instant::now();
            let guard = lock.acquire().await.unwrap();
            longest = longest.max(begun.elapsed());
            section.enter();
            tokio::time::sleep(ms(1)).await;
            section.leave();
            guard.release().await.unwrap();
            shares.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(ms(2)).await;
        }
        longest
    })
}

fn theirs(
    server: &Server,
    name: &str,
    section: &Section,
    shares: &AtomicUsize,
    until: impl Fn() -> bool,
) {
    let lock = GoLock::new(server, name, ms(5_000));
    while until() {
        if lock.lock(ms(300)) {
            section.enter();
            std::thread::sleep(ms(1));
            section.leave();
            assert!(lock.unlock());
            shares.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn arbiter_and_go_clients_exclude_each_other() {
    let (server, name, section) = (Server::start(), unique_name(), Section::default());
    let (us, them) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Instant::now();
    let more = || {
        us.load(Ordering::SeqCst) + them.load(Ordering::SeqCst) < 4_000
            && begun.elapsed() < ms(60_000)
    };
    std::thread::scope(|threads| {
        threads.spawn(|| theirs(&server, &name, &section, &them, more));
        ours(&server, &name, &section, &us, more);
    });
    println!("ours {us:?}, theirs {them:?}");
    assert!(2_000 < section.entries.load(Ordering::SeqCst));
    assert!(0 < them.load(Ordering::SeqCst) && 0 < us.load(Ordering::SeqCst));
}

#[test]
fn go_pollers_delay_arbiter_at_most_five_seconds() {
    let (server, name, section) = (Server::start(), unique_name(), Section::default());
    let (us, them) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Instant::now();
    let more = || begun.elapsed() < ms(60_000);
    let longest = std::thread::scope(|threads| {
        let ours: Vec<_> = (0..3)
            .map(|_| threads.spawn(|| ours(&server, &name, &section, &us, more)))
            .collect();
        for _ in 0..3 {
            threads.spawn(|| theirs(&server, &name, &section, &them, more));
        }
        ours.into_iter()
            .map(|thread| thread.join().unwrap())
            .max()
            .unwrap()
    });
    println!("ours {us:?}, theirs {them:?}, our longest wait {longest:?}");
    assert!(longest <= ms(5_000), "{longest:?}");
}

#[tokio::test]
async fn unannounced_go_release_is_noticed_within_a_second() {
    let (server, name) = (Server::start(), unique_name());
    let client = Client::connect(&server.url()).await.unwrap();
    let go = GoLock::new(&server, &name, ms(30_000));
    assert!(go.try_lock());
    let status = client.lock(&name).inspect().await.unwrap();
    assert_eq!(status.holder.unwrap().fence, None);
    assert!(client.lock(&name).try_acquire().await.unwrap().is_none());
    let waiter = tokio::spawn({
        let lock = client.lock(&name);
        async move { lock.acquire().await.unwrap() }
    });
    tokio::time::sleep(ms(1_300)).await;
    assert!(go.refresh() && go.unlock());
    let guard = tokio::time::timeout(ms(1_000), waiter)
        .await
        .expect("within a second")
        .unwrap();
    assert!(!go.try_lock());
    guard.release().await.unwrap();
    assert!(go.try_lock());
    assert!(!GoLock::new(&server, &name, ms(1)).unlock());
}

#[tokio::test]
async fn head_polls_often_behind_a_go_holder() {
    let (server, name) = (Server::start(), unique_name());
    let client = Client::connect(&server.url()).await.unwrap();
    let mut waited = Duration::ZERO;
    for _ in 0..5 {
        let go = GoLock::new(&server, &name, ms(30_000));
        assert!(go.try_lock());
        let waiter = tokio::spawn({
            let lock = client.lock(&name);
            async move {
                let guard = lock.acquire().await.unwrap();
                (guard, Instant::now())
            }
        });
        tokio::time::sleep(ms(150)).await;
        let released = Instant::now();
        assert!(go.unlock());
        let (guard, granted) = waiter.await.unwrap();
        waited += granted - released;
        guard.release().await.unwrap();
    }
    // At most 50 ms each. Without the frequent polls, it is most of a second each.
    assert!(waited < ms(1_250), "{waited:?}");
}

#[tokio::test]
async fn expired_go_lease_frees_the_lock() {
    let (server, name) = (Server::start(), unique_name());
    let client = Client::connect(&server.url()).await.unwrap();
    assert!(GoLock::new(&server, &name, ms(700)).try_lock());
    let begun = Instant::now();
    let guard = client
        .lock(&name)
        .wait_timeout(ms(5_000))
        .acquire()
        .await
        .unwrap();
    assert!(
        ms(600) < begun.elapsed() && begun.elapsed() < ms(1_700),
        "{:?}",
        begun.elapsed()
    );
    guard.release().await.unwrap();
}
