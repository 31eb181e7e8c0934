//! Runs a future on a blocked thread, for code that is not async.
//!
//! A tokio runtime may need the blocked thread. So while a future is polled here, the operations of
//! a client run on the client's own service thread.

use std::cell::Cell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use crate::system::process::ForkGeneration;

/// Runs a future to completion on the calling thread, and blocks that thread until then.
///
/// Use it to call this library from code that is not async. Every async operation works under it:
/// connecting, acquiring, releasing, waiting for a loss, `run`, observing an election, shutting
/// down. It needs no tokio runtime. A thread of the client does the I/O and the waiting, and the
/// calling thread sleeps between polls.
///
/// The future is polled on the calling thread, and so is the work given to `run`. It need be
/// neither `Send` nor `'static`. Calls may be nested. A call cannot be canceled; limit it by
/// [`Lock::wait_timeout`](crate::Lock::wait_timeout).
///
/// # Within a tokio runtime
/// It also works on a thread of a tokio runtime, even on the only thread of a current-thread
/// runtime. That thread is blocked meanwhile, and its tasks make no progress: prefer `.await` in
/// async code, or call this within [`tokio::task::block_in_place`].
///
/// A future that needs the blocked thread never completes. Examples are a timer, a socket or a task
/// of a current-thread runtime, `tokio::task::yield_now` in a task of any runtime, and an operation
/// of this library that was polled there before.
///
/// A client of a [memory store](crate::Client::in_memory) renews its holds, and reports their
/// losses, on the runtime that used it first. If that is a current-thread runtime whose thread is
/// blocked, neither happens until the call returns: use such a client under `block_on` only.
///
/// [`tokio::task::block_in_place`]: https://docs.rs/tokio/latest/tokio/task/fn.block_in_place.html
///
/// # Forked processes
/// In a forked process, operations of a client of the parent return
/// [`Error::Forked`](crate::Error::Forked), and do not block.
///
/// # Panics
/// If the future panics. A future that needs a tokio runtime, such as `tokio::time::sleep`, panics
/// on a thread without one. The operations of this library do not.
///
/// # Examples
/// ```
/// use arbiter_lock::{Client, Error, block_on};
///
/// fn main() -> Result<(), Error> {
///     let client = block_on(Client::connect("memory:"))?;
///     let guard = block_on(client.lock("report").acquire())?;
///     println!("fence {}", guard.fence());
///     block_on(guard.release())?;
///
///     // The work of `run` is async, and may be dropped only at an `.await`.
///     let fence = block_on(client.lock("report").run(|hold| async move { hold.fence() }))?;
///     assert!(0 < fence);
///     Ok(())
/// }
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    // Declared first, dropped last: the drop of the future counts as its work.
    let _blocking = Blocking::begin();
    // If the task's budget is used up, tokio wakes a future only after the poll of the task, which
    // is blocked here.
    let mut future = pin!(tokio::task::unconstrained(future));
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(sleeper.clone());
    let mut context = Context::from_waker(&waker);
    let mut process = ForkGeneration::current();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if process.is_current() {
            sleeper.sleep();
        } else {
            // The poll has forked, and the child has no thread that could wake this one.
            process = ForkGeneration::current();
        }
    }
}

/// Returns whether this thread is within [`block_on`], so that it drives no runtime.
pub(crate) fn is_blocking() -> bool {
    IS_BLOCKING.get()
}

thread_local! {
    static IS_BLOCKING: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as blocking until it is dropped, also by a panic.
struct Blocking {
    /// The value to restore: calls may be nested.
    before: bool,
}

impl Blocking {
    fn begin() -> Self {
        let before = IS_BLOCKING.replace(true);
        Self { before }
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        IS_BLOCKING.set(self.before);
    }
}

/// Wakes a thread that sleeps in [`block_on`].
struct Sleeper {
    thread: Thread,
    /// Separate from the thread's token, which a nested call or the future may consume.
    is_woken: AtomicBool,
}

impl Default for Sleeper {
    fn default() -> Self {
        Self {
            thread: thread::current(),
            is_woken: AtomicBool::new(false),
        }
    }
}

impl Sleeper {
    /// Parks the thread until it is woken. Returns at once if it was woken before.
    fn sleep(&self) {
        while !self.is_woken.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn thread_is_marked_only_within_the_outermost_call() {
        assert!(!is_blocking());
        block_on(async {
            assert!(is_blocking());
            block_on(async { assert!(is_blocking()) });
            assert!(is_blocking());
        });
        assert!(!is_blocking());
    }

    #[test]
    fn panic_unmarks_the_thread() {
        let panicked = catch_unwind(|| block_on(async { panic!("as it should") }));
        assert!(panicked.is_err() && !is_blocking());
        block_on(async {
            let inner = AssertUnwindSafe(|| block_on(async { panic!("as it should") }));
            assert!(catch_unwind(inner).is_err() && is_blocking());
        });
    }

    #[test]
    fn nested_call_consumes_no_wake_of_the_outer() {
        let (done, ended) = channel();
        thread::spawn(move || {
            let mut is_woken = false;
            block_on(poll_fn(|outer| {
                if std::mem::replace(&mut is_woken, true) {
                    return Poll::Ready(());
                }
                nest_and_wake(outer.waker());
                Poll::Pending
            }));
            done.send(()).unwrap();
        });
        assert_eq!(ended.recv_timeout(Duration::from_secs(30)), Ok(()));
    }

    /// Wakes that waker and a nested call at once: the thread has one token for both.
    fn nest_and_wake(outer: &Waker) {
        let mut is_woken = false;
        block_on(poll_fn(|inner| {
            if std::mem::replace(&mut is_woken, true) {
                return Poll::Ready(());
            }
            outer.wake_by_ref();
            inner.waker().wake_by_ref();
            Poll::Pending
        }));
    }
}
