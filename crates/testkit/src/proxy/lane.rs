//! One direction of a connection: what is put into it is passed on in its order, at once or after a
//! delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Passes an item on; returns whether the direction goes on.
type Pass<T> = dyn Fn(T) -> bool + Send + Sync;

/// The sending end of a direction.
pub(super) struct Lane<T> {
    pass: Arc<Pass<T>>,
    queue: Sender<(Instant, T)>,
    /// How many items are under way.
    under_way: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Lane<T> {
    /// Has a thread pass on what is delayed; once this end is gone and nothing is left, it does
    /// what is to be done at the end.
    pub(super) fn start(
        pass: impl Fn(T) -> bool + Send + Sync + 'static,
        end: impl FnOnce() + Send + 'static,
    ) -> Self {
        let pass: Arc<Pass<T>> = Arc::new(pass);
        let (queue, due) = channel::<(Instant, T)>();
        let under_way = Arc::new(AtomicUsize::new(0));
        let (carry, left) = (pass.clone(), under_way.clone());
        thread::spawn(move || {
            for (at, item) in due {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                if !carry(item) {
                    break;
                }
                left.fetch_sub(1, Ordering::SeqCst);
            }
            end();
        });
        Self {
            pass,
            queue,
            under_way,
        }
    }

    /// Passes an item on when the delay is over and all before it have been; returns whether the
    /// direction goes on.
    pub(super) fn put(&self, item: T, delay: Duration) -> bool {
        if delay.is_zero() && self.under_way.load(Ordering::SeqCst) == 0 {
            return (self.pass)(item);
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.queue.send((Instant::now() + delay, item)).is_ok()
    }
}
