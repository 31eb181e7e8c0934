//! One direction of a connection: it forwards items in order, at once or after a delay.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Forwards an item, and returns whether the direction continues.
type Pass<T> = dyn Fn(T) -> bool + Send + Sync;

/// The sending end of a direction.
pub(super) struct Lane<T> {
    pass: Arc<Pass<T>>,
    queue: Sender<(Instant, T)>,
    /// The number of items in transit.
    under_way: Arc<AtomicUsize>,
}

impl<T: Send + 'static> Lane<T> {
    /// Starts a thread that forwards delayed items. Once this end is dropped and no item is left,
    /// the thread runs the final action.
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

    /// Forwards an item after the delay and after all earlier items. Returns whether the direction
    /// continues.
    pub(super) fn put(&self, item: T, delay: Duration) -> bool {
        if delay.is_zero() && self.under_way.load(Ordering::SeqCst) == 0 {
            return (self.pass)(item);
        }
        self.under_way.fetch_add(1, Ordering::SeqCst);
        self.queue.send((Instant::now() + delay, item)).is_ok()
    }
}
