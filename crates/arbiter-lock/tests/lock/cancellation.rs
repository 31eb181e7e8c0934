//! Futures dropped at every await, and guards dropped in unusual places, leave nothing behind.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use arbiter_lock::{Begun, Client, Error, RunState, Status, block_on};

/// Polls a future that many times, then drops it. Returns its output if it completed.
pub(crate) async fn poll_times<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn is_clean(client: &Client, name: &str) -> bool {
    let Status {
        holder, waiting, ..
    } = client.lock(name).inspect().await.unwrap();
    holder.is_none() && waiting == 0
}

/// More polls than any future of these tests needs.
const MOST_POLLS: usize = 40;
const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn acquire_dropped_after_any_poll_leaves_nothing() {
    let client = Client::in_memory();
    for times in 0..8 {
        let lock = client.lock("l");
        drop(poll_times(times, lock.acquire()).await);
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_acquire_dropped_anytime_leaves_the_queue() {
    let client = Client::in_memory();
    for times in 0..12 {
        let guard = client.lock("l").acquire().await.unwrap();
        let lock = client.lock("l");
        assert!(poll_times(times, lock.acquire()).await.is_none());
        assert_eq!(
            lock.inspect().await.unwrap().waiting,
            0,
            "after {times} polls"
        );
        guard.release().await.unwrap();
        assert!(is_clean(&client, "l").await);
    }
}

#[tokio::test(start_paused = true)]
async fn acquire_dropped_during_hand_off_grants_the_next() {
    for times in 1..12 {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        let first = client.lock("l");
        let mut first = Box::pin(first.acquire());
        let queued = poll_times(4, &mut first).await;
        assert!(queued.is_none());
        let second = tokio::spawn({
            let client = client.clone();
            async move { client.lock("l").acquire().await.unwrap().fence() }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        guard.release().await.unwrap();
        let granted = poll_times(times - 1, &mut first).await;
        drop((granted, first));
        let next = tokio::time::timeout(Duration::from_millis(50), second).await;
        assert!(next.is_ok(), "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn release_dropped_after_any_poll_still_frees() {
    let client = Client::in_memory();
    for times in 0..6 {
        let guard = client.lock("l").acquire().await.unwrap();
        drop(poll_times(times, guard.release()).await);
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn run_dropped_after_any_poll_still_frees() {
    let client = Client::in_memory();
    for times in 0..10 {
        let lock = client.lock("l");
        let work = |_| tokio::time::sleep(Duration::from_secs(1));
        drop(poll_times(times, lock.run(work)).await);
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn campaign_dropped_after_any_poll_leaves_no_leader() {
    let client = Client::in_memory();
    let election = client.election("e");
    let mut led = 0;
    for times in 0..MOST_POLLS {
        let leadership = poll_times(times, election.campaign("node")).await;
        led += usize::from(leadership.is_some());
        drop(leadership);
        assert!(is_clean(&client, "e").await, "after {times} polls");
    }
    assert!(0 < led && led < MOST_POLLS);
}

#[tokio::test(start_paused = true)]
async fn job_dropped_after_any_poll_holds_nothing() {
    let client = Client::in_memory();
    let (mut begun, mut ran) = (0, 0);
    for times in 0..MOST_POLLS {
        let job = client.once(&format!("begin {times}")).every(HOUR);
        let run = poll_times(times, job.begin()).await;
        begun += usize::from(matches!(run, Some(Ok(Begun::Run(_)))));
        drop(run);
        assert!(is_clean(&client, &format!("begin {times}")).await);
        let last = job.last_run().await.unwrap();
        assert!(last.is_none_or(|last| last.state == RunState::Crashed));

        let job = client.once(&format!("run {times}")).every(HOUR);
        let work = |_| async {
            tokio::task::yield_now().await;
            Ok::<_, Error>(())
        };
        let done = poll_times(times, job.run(work)).await.is_some();
        ran += usize::from(done);
        assert!(is_clean(&client, &format!("run {times}")).await);
        let state = job.last_run().await.unwrap().map(|last| last.state);
        let ended = matches!(state, Some(RunState::EndedWell { .. }));
        assert!(state != Some(RunState::Running) && (ended || !done));
    }
    assert!(0 < begun && begun < MOST_POLLS && 0 < ran && ran < begun);
}

#[tokio::test(start_paused = true)]
async fn names_dropped_after_any_poll_are_all_released() {
    let client = Client::in_memory();
    let all = client.lock_all(["a", "b", "c"]);
    for times in 0..MOST_POLLS {
        drop(poll_times(times, all.acquire()).await);
        let held = client.lock("b").acquire().await.unwrap();
        assert!(poll_times(times, all.acquire()).await.is_none());
        assert!(is_clean(&client, "a").await && is_clean(&client, "c").await);
        assert_eq!(all_waiting(&client).await, 0, "after {times} polls");
        held.release().await.unwrap();
        let guards = all.acquire().await.unwrap();
        drop(poll_times(times, guards.release()).await);
        for name in ["a", "b", "c"] {
            assert!(is_clean(&client, name).await, "after {times} polls");
        }
    }
}

async fn all_waiting(client: &Client) -> u64 {
    let mut waiting = 0;
    for name in ["a", "b", "c"] {
        waiting += client.lock(name).inspect().await.unwrap().waiting;
    }
    waiting
}

#[tokio::test(start_paused = true)]
async fn dropped_downgrade_or_resize_is_atomic() {
    let client = Client::in_memory();
    let catalogue = client.rw_lock("l");
    for times in 0..8 {
        let writer = catalogue.write().await.unwrap();
        let done = poll_times(times, writer.downgrade()).await.is_some();
        let others = catalogue.try_read().await.unwrap().is_some();
        assert!(!others || writer.is_shared(), "others read beside a writer");
        assert!(others || !done);
        writer.release().await.unwrap();

        let permit = client.semaphore("s", 1).acquire().await.unwrap();
        let bigger = client.semaphore("s", 2);
        let done = poll_times(times, bigger.resize(2)).await.is_some();
        let another = bigger.try_acquire().await;
        assert!(another.is_ok() || !done);
        drop((permit, another));
        assert!(is_clean(&client, "s").await, "after {times} polls");
    }
}

#[test]
fn drop_without_runtime_or_in_panic_frees() {
    let client = Client::in_memory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (election, job) = (client.election("e"), client.once("j").every(HOUR));
    let held = runtime.block_on(async {
        let all = client.lock_all(["a", "b"]).acquire().await.unwrap();
        let run = job.begin().await.unwrap();
        let leadership = election.campaign("node").await.unwrap();
        let permit = client.semaphore("s", 2).acquire().await.unwrap();
        (all, run, leadership, permit)
    });
    drop(runtime);
    let panicked = std::thread::spawn(move || {
        let _held = held;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    for name in ["a", "b", "e", "j", "s"] {
        let lock = client.lock(name).wait_timeout(Duration::from_secs(1));
        assert!(block_on(lock.acquire()).is_ok(), "{name}");
    }
}

#[test]
fn guard_dropped_outside_any_runtime_frees() {
    let client = Client::in_memory();
    let guard = block_on(client.lock("l").acquire()).unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert!(!block_on(client.lock("l").inspect()).unwrap().is_held());
}

#[test]
fn guard_outliving_its_runtime_holds_then_frees() {
    let client = Client::in_memory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let guard = runtime.block_on(client.lock("l").acquire()).unwrap();
    drop(runtime);
    assert!(guard.is_held());
    assert!(block_on(client.lock("l").try_acquire()).unwrap().is_none());
    drop(guard);
    assert!(block_on(client.lock("l").try_acquire()).unwrap().is_some());
}

#[test]
fn guard_dropped_in_a_panic_frees() {
    let client = Client::in_memory();
    let held = client.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = block_on(held.lock("l").acquire()).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(block_on(client.lock("l").try_acquire()).unwrap().is_some());
}

#[test]
fn futures_run_without_a_tokio_executor() {
    let client = Client::in_memory();
    let lock = client.lock("l");
    let guard = on_another_executor(lock.acquire()).unwrap();
    assert!(on_another_executor(lock.try_acquire()).unwrap().is_none());
    on_another_executor(guard.refresh()).unwrap();
    on_another_executor(guard.release()).unwrap();
    assert!(!on_another_executor(lock.inspect()).unwrap().is_held());
}

/// Runs a future on the current thread, parking it between polls.
fn on_another_executor<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn token_dropped_after_any_poll_releases() {
    for times in 0..12 {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        match poll_times(times, guard.into_token()).await {
            Some(token) => client
                .adopt(&token.unwrap())
                .await
                .unwrap()
                .release()
                .await
                .unwrap(),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn adoption_dropped_after_any_poll_leaks_nothing() {
    let (mut adopted, mut left) = (0, 0);
    for times in 0..12 {
        let client = Client::in_memory();
        let guard = client.lock("l").acquire().await.unwrap();
        let token = guard.into_token().await.unwrap();
        if poll_times(times, client.adopt(&token)).await.is_some() {
            adopted += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        if !is_clean(&client, "l").await {
            left += 1;
            client.adopt(&token).await.unwrap().release().await.unwrap();
        }
        assert!(is_clean(&client, "l").await, "after {times} polls");
    }
    assert!(0 < adopted && 0 < left, "{adopted} {left}");
}
