//! A logger or a waker that misbehaves delays no renewal, grant, release or loss.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Event, LostReason, block_on};
use testkit::{Server, eventually, eventually_async, unique_name};

use crate::acquire_and_release;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Long on any machine. Tests that pass do not wait for it.
const LONG: Duration = Duration::from_secs(10);

/// Blocks a logger at an event of that kind until the blocker is opened.
struct Blocker {
    entered: Receiver<()>,
    open: Option<Sender<()>>,
}

impl Blocker {
    fn new(stops: fn(&Event) -> bool) -> (Self, impl Fn(&Event) + Send + Sync + 'static) {
        let (enter, entered) = channel();
        let (open, opened) = channel::<()>();
        let (enter, opened) = (Mutex::new(enter), Mutex::new(opened));
        let logger = move |event: &Event| {
            if stops(event) {
                let _ = enter.lock().unwrap().send(());
                // Ends when the blocker is dropped.
                let _ = opened.lock().unwrap().recv();
            }
        };
        let open = Some(open);
        (Self { entered, open }, logger)
    }

    /// Waits until the logger is blocked.
    fn wait(&self) {
        self.entered.recv_timeout(LONG).unwrap();
    }

    fn open(&mut self) {
        self.open = None;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_logger_costs_no_hold_grant_or_loss() {
    let server = Server::start();
    let (blocker, logger) = Blocker::new(|event| matches!(event, Event::Renewed { .. }));
    let builder = Client::builder().store(&server.url()).logger(logger);
    let client = builder.connect().await.unwrap();
    let other = Client::connect(&server.url()).await.unwrap();
    let (name, deleted) = (unique_name(), unique_name());
    let lease = ms(1_500);
    let lock = client.lock(&name).lease_time(lease);
    let guard = lock.acquire().await.unwrap();
    let second = client.lock(&deleted).lease_time(lease);
    let second = second.acquire().await.unwrap();
    blocker.wait();
    tokio::time::sleep(lease * 2).await;
    assert!(guard.is_held(), "renewed no more");
    // The keeper finds the loss.
    server.call(&["DEL", &format!("arbiter:{deleted}")]);
    let lost = tokio::time::timeout(LONG, second.lost()).await;
    assert_eq!(lost.unwrap(), LostReason::Deleted);
    // A release, a grant to another client, and a grant to this client.
    let waiter = other.lock(&name);
    let waiter = tokio::spawn(async move { waiter.acquire().await.unwrap() });
    tokio::time::sleep(ms(100)).await;
    guard.release().await.unwrap();
    let granted = tokio::time::timeout(LONG, waiter).await.unwrap().unwrap();
    let again = tokio::spawn(async move { lock.acquire().await.unwrap() });
    tokio::time::sleep(ms(100)).await;
    granted.release().await.unwrap();
    let again = tokio::time::timeout(LONG, again).await.unwrap().unwrap();
    drop(again);
    let lock = other.lock(&name).wait_timeout(LONG);
    lock.acquire().await.unwrap().release().await.unwrap();
}

#[test]
fn logger_uses_its_own_client() {
    let server = Server::start();
    for store in [server.url(), "memory:".to_owned()] {
        let own = Arc::new(OnceLock::<Client>::new());
        let (done, ended) = channel();
        let (used, done) = (own.clone(), Mutex::new(done));
        let logger = move |event: &Event| {
            if let (Event::Acquired { name, .. }, Some(client)) = (event, used.get())
                && &**name == "outer"
            {
                let inner = block_on(client.lock("inner").acquire());
                let released = inner.and_then(|guard| block_on(guard.release()));
                let _ = done.lock().unwrap().send(released);
            }
        };
        let builder = Client::builder().store(&store).logger(logger);
        let runtime = crate::one_worker();
        let client = runtime.block_on(builder.connect()).unwrap();
        own.set(client.clone()).ok().unwrap();
        let guard = block_on(client.lock("outer").acquire()).unwrap();
        ended.recv_timeout(LONG).unwrap().unwrap();
        block_on(guard.release()).unwrap();
    }
}

#[tokio::test]
async fn logger_drops_the_last_handle() {
    let server = Server::start();
    for store in [server.url(), "memory:".to_owned()] {
        let (give, given) = channel::<Client>();
        let (alive, gone) = channel::<()>();
        let (given, alive) = (Mutex::new(given), Mutex::new(alive));
        let logger = move |event: &Event| {
            if matches!(event, Event::Released { .. }) {
                let _alive = &alive;
                drop(given.lock().unwrap().recv());
            }
        };
        let builder = Client::builder().store(&store).logger(logger);
        let client = builder.connect().await.unwrap();
        let guard = client.lock("l").acquire().await.unwrap();
        guard.release().await.unwrap();
        give.send(client).unwrap();
        // The thread drops the logger when it ends.
        let has_ended = || gone.try_recv() == Err(TryRecvError::Disconnected);
        assert!(eventually_async(LONG, has_ended).await, "{store}");
    }
}

#[tokio::test]
async fn last_events_are_logged_when_the_client_ends() {
    for by_shutdown in [false, true] {
        let released = Arc::new(AtomicBool::new(false));
        let seen = released.clone();
        let logger = move |event: &Event| {
            std::thread::sleep(ms(30));
            if matches!(event, Event::Released { .. }) {
                seen.store(true, Ordering::SeqCst);
            }
        };
        let builder = Client::builder().store("memory:").logger(logger);
        let client = builder.connect().await.unwrap();
        acquire_and_release(&client.lock("l")).await;
        if by_shutdown {
            client.shutdown(LONG).await;
        } else {
            drop(client);
        }
        assert!(released.load(Ordering::SeqCst), "{by_shutdown}");
    }
}

#[tokio::test]
async fn hanging_logger_does_not_block_shutdown() {
    let (blocker, logger) = Blocker::new(|_| true);
    let builder = Client::builder().store("memory:").logger(logger);
    let client = builder.connect().await.unwrap();
    let guard = client.lock("l").acquire().await.unwrap();
    blocker.wait();
    guard.release().await.unwrap();
    let begun = Instant::now();
    assert_eq!(client.shutdown(LONG * 6).await, 0);
    drop(client);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn dropped_events_are_counted_in_their_place() {
    let (mut blocker, stop) = Blocker::new(|event| event.to_string().contains("'first'"));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    let logger = move |event: &Event| {
        seen.lock().unwrap().push(event.to_string());
        stop(event);
    };
    let builder = Client::builder().store("memory:").logger(logger);
    let client = builder.connect().await.unwrap();
    let first = client.lock("first").acquire().await.unwrap();
    blocker.wait();
    // Besides the event that is being logged, 1,024 have room.
    let cycles = 1_000;
    for n in 0..cycles {
        let lock = client.lock(&n.to_string());
        lock.acquire().await.unwrap().release().await.unwrap();
    }
    blocker.open();
    client.testing().deliver_events();
    let last = client.lock("last").acquire().await.unwrap();
    client.testing().deliver_events();
    let mut told = lines.lock().unwrap().clone();
    let (end, dropped) = (told.pop().unwrap(), told.pop().unwrap());
    assert!(end.contains("acquired 'last'"), "{end}");
    let count = 2 * cycles - 1_024;
    assert!(dropped.starts_with(&format!("{count} events")), "{dropped}");
    let expected = (0..cycles).flat_map(|n| [format!("acquired '{n}'"), format!("released '{n}'")]);
    assert_eq!(told.len(), 1 + 1_024);
    for (line, start) in told[1..].iter().zip(expected) {
        assert!(line.starts_with(&start), "{line} is not {start}");
    }
    drop((first, last));
}

/// Calls a function when it is woken.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn waker(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(OnWake(act)).into()
}

fn is_pending(lost: &mut arbiter_lock::Lost, waker: &Waker) -> bool {
    let lost = std::pin::Pin::new(lost);
    lost.poll(&mut Context::from_waker(waker)) == Poll::Pending
}

#[tokio::test]
async fn loss_waker_may_use_client_and_panic() {
    let server = Server::start();
    let client = Client::connect(&server.url()).await.unwrap();
    let lock = client.lock(&unique_name()).lease_time(ms(1_000));
    let kept = lock.acquire().await.unwrap();
    let lock = client.lock(&unique_name()).lease_time(ms(300));
    let guard = lock.watchdog(false).acquire().await.unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let (counted, using) = (woken.clone(), client.clone());
    let name = unique_name();
    let panics = waker(|| panic!("a waker that panics"));
    let uses = waker(move || {
        let guard = block_on(using.lock(&name).acquire()).unwrap();
        block_on(guard.release()).unwrap();
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let (mut first, mut second) = (guard.lost(), guard.lost());
    assert!(is_pending(&mut first, &panics) && is_pending(&mut second, &uses));
    // Nothing polls the futures: the keeper finds the loss.
    if !eventually(LONG, || woken.load(Ordering::SeqCst) == 1) {
        // Dropping them would wait for the blocked threads.
        std::mem::forget((client, kept, guard, first, second));
        panic!("the waker hangs");
    }
    std::thread::sleep(ms(2_000));
    assert!(kept.is_held(), "renewed no more");
}
