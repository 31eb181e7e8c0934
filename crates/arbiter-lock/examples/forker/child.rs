//! The scenarios of the children, and how they are run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arbiter_lock::{Error, Hold, LostReason, StoreHealth, block_on};
use fork::Fork;
use tokio::runtime::Builder;

use crate::parent::Parent;
use crate::{LIMIT, ms};

/// Runs a function in a child, and waits until it has succeeded.
pub(crate) fn in_a_child(child: impl FnOnce()) {
    let status = status_of_a_child(|| {
        child();
        0
    });
    assert_eq!(status, 0, "the child failed");
}

/// Runs a function in a child, and returns its exit status.
pub(crate) fn status_of_a_child(child: impl FnOnce() -> i32) -> i32 {
    match fork::fork().unwrap() {
        Fork::Parent(pid) => status_of(pid),
        Fork::Child => {
            let done = catch_unwind(AssertUnwindSafe(child));
            std::process::exit(done.unwrap_or(1));
        }
    }
}

/// Waits for a child, and returns its exit status.
pub(crate) fn status_of(pid: i32) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = fork::waitpid_nohang(pid).unwrap() {
            assert_eq!(status & 0x7f, 0, "a signal has ended the child");
            return status >> 8;
        }
        if LIMIT < begun.elapsed() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("the child hangs");
        }
        std::thread::sleep(ms(1));
    }
}

pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "not {what}");
        std::thread::sleep(ms(5));
    }
}

pub(crate) fn poll<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
pub(crate) fn is_forked<T>(result: Result<T, Error>) {
    match result {
        Err(Error::Forked) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it succeeded"),
    }
}

pub(crate) fn is_inert(hold: &Hold) {
    assert!(!hold.is_held());
    assert_eq!(hold.remaining(), Duration::ZERO);
    assert!(hold.is_shared());
    assert_eq!(
        poll(&mut Box::pin(hold.lost())),
        Poll::Ready(LostReason::Forked)
    );
    assert!(format!("{hold:?}").contains("Forked"));
}

/// Checks every async form, on a runtime of the child.
pub(crate) fn operations(parent: &mut Option<Parent>) {
    let parent = parent.as_mut().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        every_operation(parent).await;
        let holds = [&parent.guard, &parent.nested, &parent.reader];
        holds.into_iter().for_each(|guard| is_inert(guard));
        is_inert(&parent.leadership);
        is_inert(&parent.run);
        assert!(!parent.all.is_held());
        assert_eq!(parent.all.lost().await.reason, LostReason::Forked);
        parent.client.closing().await;
        assert_eq!(parent.client.shutdown(LIMIT).await, 0);
    });
    // Also without a runtime.
    is_forked(poll_once(parent.client.lock("x").acquire()));
    is_forked(poll_once(parent.guard.refresh()));
}

pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> T {
    match poll(&mut Box::pin(future)) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

pub(crate) async fn every_operation(parent: &Parent) {
    let client = &parent.client;
    let lock = client.lock("x");
    let nothing = |_: Hold| async {};
    let health = client.health();
    assert!(matches!(health.store, StoreHealth::Forked) && !health.is_ready());
    is_forked(lock.acquire().await);
    is_forked(lock.try_acquire().await);
    is_forked(lock.clone().wait_timeout(ms(100)).acquire().await);
    is_forked(lock.inspect().await);
    is_forked(lock.run(nothing).await);
    is_forked(lock.ask_to_stop(1).await);
    is_forked(client.lock("l").break_now(parent.guard.fence()).await);
    is_forked(parent.guard.refresh().await);
    is_forked(parent.reader.downgrade().await);
    is_forked(parent.session.lock("n").acquire().await);
    is_forked(parent.session.lock("x").try_acquire().await);
    is_forked(client.rw_lock("x").read().await);
    is_forked(client.semaphore("s", 1).acquire().await);
    is_forked(client.semaphore("s", 1).resize(2).await);
    is_forked(client.lock_all(["x", "y"]).acquire().await);
    is_forked(client.election("e").campaign("child").await);
    is_forked(client.election("e").leader().await);
    is_forked(client.election("e").observe().next().await);
    is_forked(client.election("e").lead("child", nothing).await);
    is_forked(parent.leadership.proclaim("child").await);
    is_forked(client.once("x").every(ms(1_000)).begin().await);
    is_forked(client.once("o").last_run().await);
}

/// Checks every operation under `block_on`: its service thread is missing in the child.
pub(crate) fn blocking(parent: &mut Option<Parent>) {
    let parent = parent.as_mut().unwrap();
    block_on(every_operation(parent));
    for pending in &mut parent.pending {
        is_forked(block_on(pending));
    }
    assert_eq!(block_on(parent.guard.lost()), LostReason::Forked);
    assert_eq!(block_on(parent.all.lost()).reason, LostReason::Forked);
    block_on(parent.client.closing());
    assert_eq!(block_on(parent.client.shutdown(LIMIT)), 0);
}

/// Releases or drops all objects of the parent.
pub(crate) fn drops(parent: &mut Option<Parent>) {
    let parent = parent.take().unwrap();
    let mut seated = parent.seated;
    assert_eq!(poll(&mut seated), Poll::Ready(LostReason::Forked));
    is_forked(poll_once(parent.guard.release()));
    is_forked(block_on(parent.reader.release()));
    is_forked(block_on(parent.all.release()));
    is_forked(block_on(parent.leadership.resign()));
    is_forked(block_on(parent.run.finish(Ok(""))));
    drop((seated, parent.other_seated, parent.nested, parent.blockers));
    drop((parent.pending, parent.running, parent.closing));
    drop(parent.session);
    drop((parent.client, parent.counters));
    // The runtime's threads are missing, and tokio would wait for them.
    std::mem::forget((parent.runtime, parent.busy));
}

/// Checks that pending futures end with an error when they are polled, and that their drop has no
/// effect.
pub(crate) fn waiting(parent: &mut Option<Parent>) {
    let parent = parent.as_mut().unwrap();
    let [on_the_runtime, without, to_be_dropped] = &mut parent.pending;
    let Poll::Ready(done) = poll(on_the_runtime) else {
        panic!("it waits");
    };
    is_forked(done);
    let Poll::Ready(done) = poll(without) else {
        panic!("it waits");
    };
    is_forked(done);
    *to_be_dropped = Box::pin(std::future::pending());
    let Poll::Ready(Err(Error::Lost(loss))) = poll(&mut parent.running) else {
        panic!("it works on");
    };
    assert_eq!(loss.reason, LostReason::Forked);
    assert!(poll(&mut parent.closing).is_ready());
}
