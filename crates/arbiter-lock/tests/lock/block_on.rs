//! Blocking on the operations: on plain threads, and on threads that a runtime needs.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use arbiter_lock::{Begun, Client, LostReason, block_on};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Longer than a busy machine needs.
const LONG: Duration = ms(30_000);

/// Fails if the work does not end: a deadlock would never.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    let ended = ended.recv_timeout(LONG);
    assert_ne!(ended, Err(RecvTimeoutError::Timeout), "it hangs");
    thread.join().unwrap();
}

fn current_thread() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

/// Connects, works and shuts down, as a program does.
fn connects_works_and_shuts_down(url: &str) {
    let client = block_on(Client::connect(url)).unwrap();
    let lock = client.lock("l").wait_timeout(LONG);
    let guard = block_on(lock.acquire()).unwrap();
    assert!(block_on(lock.try_acquire()).unwrap().is_none());
    block_on(guard.refresh()).unwrap();

    let waiting = std::thread::spawn({
        let lock = lock.clone();
        move || block_on(async { lock.acquire().await?.release().await })
    });
    while block_on(lock.inspect()).unwrap().waiting < 1 {
        std::thread::sleep(ms(5));
    }
    let hold = guard.hold().clone();
    block_on(guard.release()).unwrap();
    assert_eq!(block_on(hold.lost()), LostReason::Released);
    waiting.join().unwrap().unwrap();

    let fence = block_on(lock.run(|hold| async move { hold.fence() })).unwrap();
    assert!(hold.fence() < fence);
    let both = client.lock_all(["a", "b"]);
    assert_eq!(
        block_on(both.run(|holds| async move { holds.len() })).unwrap(),
        2
    );

    let election = client.election("e");
    let mut observer = election.observe();
    assert!(block_on(observer.next()).unwrap().is_none());
    let leadership = block_on(election.campaign("one")).unwrap();
    let leader = block_on(observer.next()).unwrap().unwrap();
    assert_eq!(leader.value.as_deref(), Some("one"));
    block_on(leadership.resign()).unwrap();

    match block_on(client.once("o").every(ms(60_000)).begin()).unwrap() {
        Begun::Run(run) => block_on(run.finish(Ok(""))).unwrap(),
        Begun::Skipped(skip) => panic!("{skip}"),
    }
    drop(block_on(client.lock("dropped").acquire()).unwrap());
    assert_eq!(block_on(client.shutdown(LONG)), 0);
    block_on(client.closing());
    assert!(block_on(lock.acquire()).is_err());
}

/// Checks the losses that a holder may have to report.
fn reports_losses(url: &str) {
    let client = block_on(Client::connect(url)).unwrap();
    let lock = client.lock("m").max_hold(ms(300));
    let guard = block_on(lock.acquire()).unwrap();
    assert_eq!(block_on(guard.lost()), LostReason::MaxHold);

    let lock = client.lock("r").lease_time(ms(1_500));
    let guard = block_on(lock.acquire()).unwrap();
    let breaking = std::thread::spawn({
        let (lock, fence) = (lock.clone(), guard.fence());
        move || {
            std::thread::sleep(ms(50));
            block_on(lock.break_now(fence)).unwrap()
        }
    });
    assert_eq!(block_on(guard.lost()), LostReason::Deleted);
    assert!(breaking.join().unwrap());
    let error = block_on(guard.release()).unwrap_err();
    assert!(error.is_lost(), "{error}");
}

/// Blocks the only thread of a runtime, in a task without a budget for more awaits.
fn blocks_a_current_thread_runtime(url: &str) {
    let url = url.to_owned();
    ends(move || {
        current_thread().block_on(async {
            let client = block_on(Client::connect(&url)).unwrap();
            let lock = client.lock("l");
            for _ in 0..200 {
                let guard = block_on(lock.acquire()).unwrap();
                block_on(guard.release()).unwrap();
            }
            // And async, in turn.
            let guard = lock.acquire().await.unwrap();
            assert!(block_on(lock.try_acquire()).unwrap().is_none());
            block_on(guard.release()).unwrap();
            let guard = block_on(lock.acquire()).unwrap();
            guard.release().await.unwrap();
            assert_eq!(block_on(client.shutdown(LONG)), 0);
        });
    });
}

/// The same claims on each store.
macro_rules! claims {
    ($($name:ident $store:expr;)*) => {
        $(mod $name {
            use testkit::conformance::Store;

            #[test]
            fn whole_program_needs_no_runtime() {
                super::connects_works_and_shuts_down($store.url());
            }

            #[test]
            fn blocked_thread_detects_losses() {
                super::reports_losses($store.url());
            }

            #[test]
            fn only_thread_of_a_runtime_may_block() {
                super::blocks_a_current_thread_runtime($store.url());
            }
        })*
    };
}

claims! {
    memory Store::memory();
    redis Store::redis();
    cluster Store::own_cluster();
}

#[cfg(feature = "embedded")]
claims! { embedded Store::embedded(); }

#[test]
fn nested_calls_and_work_within_run_block() {
    ends(|| {
        let client = Client::in_memory();
        let (outer, inner) = (client.lock("outer"), client.lock("inner"));
        let fence = block_on(outer.run(|hold| {
            let fence = block_on(inner.run(|hold| async move { hold.fence() })).unwrap();
            async move { (hold.fence(), fence) }
        }));
        let (outer, inner) = fence.unwrap();
        assert!(0 < outer && 0 < inner);
    });
}

#[test]
fn task_of_a_multi_thread_runtime_may_block() {
    ends(|| {
        let runtime = crate::one_worker();
        let client = Client::in_memory();
        let task = runtime.spawn(async move {
            let guard = block_on(client.lock("l").acquire()).unwrap();
            block_on(guard.release()).unwrap();
            // The worker continues as before.
            client.lock("l").acquire().await.unwrap()
        });
        assert!(runtime.block_on(task).unwrap().is_held());
    });
}

#[test]
fn dropped_guard_of_a_blocked_thread_releases() {
    ends(|| {
        current_thread().block_on(async {
            let client = Client::in_memory();
            block_on(async { drop(client.lock("l").acquire().await.unwrap()) });
            assert!(block_on(client.lock("l").try_acquire()).unwrap().is_some());
        });
    });
}

#[test]
fn blocked_thread_posts_a_release_past_its_runtime() {
    ends(|| {
        let client = Client::in_memory();
        let earlier = current_thread();
        let guard = earlier.block_on(client.lock("l").acquire()).unwrap();
        // Nothing is left to keep when the keeper ends with the runtime.
        client.testing().lose("l", LostReason::Expired);
        drop(earlier);
        current_thread().block_on(async {
            client.testing().go_silent();
            block_on(async { drop(guard) });
            client.testing().answer();
            let begun = Instant::now();
            assert_eq!(block_on(client.shutdown(ms(20_000))), 0);
            assert!(begun.elapsed() < ms(10_000), "{:?}", begun.elapsed());
        });
    });
}

#[tokio::test]
async fn blocked_thread_may_use_a_runtime_elsewhere() {
    let client = Client::in_memory();
    let (handle, lock) = (tokio::runtime::Handle::current(), client.lock("l"));
    let thread = std::thread::spawn(move || {
        let _entered = handle.enter();
        block_on(lock.run(|hold| async move {
            tokio::time::sleep(ms(1)).await;
            hold.is_held()
        }))
    });
    let is_over = || thread.is_finished();
    assert!(testkit::eventually_async(LONG, is_over).await);
    assert!(thread.join().unwrap().unwrap());
}
