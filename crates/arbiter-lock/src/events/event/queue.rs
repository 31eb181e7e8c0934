//! A bounded queue of events, and the thread that logs them.
//!
//! Only this thread calls the logger, so a slow or blocked logger delays no other work.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use super::{Event, Level, Logger};
use crate::events::measurement::ClientMeasurement;
use crate::events::metrics;

/// How many events may wait for the logger.
const CAPACITY: usize = 1_024;

/// A handle of a client's event queue. The thread ends after the last handle is dropped.
#[derive(Clone)]
pub(crate) struct EventQueue(Arc<Sender>);

/// Closes the queue when it is dropped.
struct Sender {
    shared: Arc<QueueShared>,
}

/// The state that the handles and the thread share.
struct QueueShared {
    logger: Box<dyn Logger>,
    state: Mutex<QueueState>,
    added: Condvar,
    delivered: Condvar,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<Event>,
    /// How many events were dropped after the last of `events`.
    dropped: u64,
    thread: Option<ThreadId>,
    /// Whether the thread waits for an event.
    is_idle: bool,
    is_logging: bool,
    is_closed: bool,
}

impl EventQueue {
    /// Makes an empty queue. Its thread starts with the first event.
    pub(crate) fn new(logger: Box<dyn Logger>) -> Self {
        let shared = QueueShared {
            logger,
            state: Mutex::default(),
            added: Condvar::new(),
            delivered: Condvar::new(),
        };
        // A logger that initializes itself at its first call does so here, and not in the keeper.
        shared.wants(Level::Debug);
        Self(Arc::new(Sender {
            shared: Arc::new(shared),
        }))
    }

    /// Queues an event of that level if the logger wants it. Never waits for the logger.
    pub(crate) fn emit(&self, level: Level, event: impl FnOnce() -> Event) {
        let shared = &self.0.shared;
        if !shared.wants(level) {
            return;
        }
        let event = event();
        debug_assert_eq!(event.level(), level, "{event}");
        let mut state = shared.state();
        let is_queued = state.push(event);
        if state.thread.is_none() {
            // If no thread can be started, the next event tries again.
            state.thread = start(shared.clone()).ok();
        } else if state.is_idle {
            shared.added.notify_one();
        }
        drop(state);
        if !is_queued {
            metrics::record(ClientMeasurement::EventDropped);
        }
    }

    /// Waits until all events have been logged, or until the limit has passed.
    pub(crate) fn flush(&self, limit: Duration) {
        let shared = &self.0.shared;
        let state = shared.state();
        let _ = shared
            .delivered
            .wait_timeout_while(state, limit, |state| state.is_worth_waiting());
    }

    /// Returns whether events are queued or being logged.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.shared.state().is_worth_waiting()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.state().is_closed = true;
        self.shared.added.notify_one();
    }
}

impl QueueShared {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, level: Level) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.logger.enabled(level))).unwrap_or(true)
    }

    /// Logs the queued events until the queue is closed and empty.
    fn deliver(&self) {
        while let Some(event) = self.next() {
            // The panic hook has reported a panic.
            let _ = catch_unwind(AssertUnwindSafe(|| self.logger.log(&event)));
        }
    }

    /// Waits for the next event. Returns `None` once the queue is closed and empty.
    fn next(&self) -> Option<Event> {
        let mut state = self.state();
        state.is_logging = false;
        loop {
            if let Some(event) = state.pop() {
                state.is_logging = true;
                return Some(event);
            }
            self.delivered.notify_all();
            if state.is_closed {
                return None;
            }
            state.is_idle = true;
            let woken = self.added.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            state.is_idle = false;
        }
    }
}

impl QueueState {
    /// Queues the event, or counts it as dropped if the queue is full. Returns whether it is queued.
    /// The report of dropped events is queued beyond the capacity.
    fn push(&mut self, event: Event) -> bool {
        if CAPACITY <= self.events.len() {
            self.dropped += 1;
            return false;
        }
        let dropped = self.take_dropped();
        self.events.extend(dropped);
        self.events.push_back(event);
        true
    }

    fn pop(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| self.take_dropped())
    }

    fn take_dropped(&mut self) -> Option<Event> {
        let count = std::mem::take(&mut self.dropped);
        (0 < count).then_some(Event::EventsDropped { count })
    }

    /// Returns whether another thread still logs events.
    fn is_worth_waiting(&self) -> bool {
        let is_done = self.events.is_empty() && self.dropped == 0 && !self.is_logging;
        let logs = self.thread.filter(|_| !is_done);
        logs.is_some_and(|thread| thread != std::thread::current().id())
    }
}

fn start(shared: Arc<QueueShared>) -> io::Result<ThreadId> {
    let thread = std::thread::Builder::new()
        .name("arbiter-events".into())
        .spawn(move || shared.deliver())?;
    Ok(thread.thread().id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::event::NoopLogger;

    fn count(count: u64) -> Event {
        Event::EventsDropped { count }
    }

    fn counts(state: &mut QueueState) -> Vec<u64> {
        let events = std::iter::from_fn(|| state.pop());
        let counts = events.map(|event| match event {
            Event::EventsDropped { count } => count,
            other => panic!("{other}"),
        });
        counts.collect()
    }

    #[test]
    fn dropped_events_are_counted_before_the_next() {
        let mut state = QueueState::default();
        let capacity = CAPACITY as u64;
        let queued = (0..capacity + 3).filter(|n| state.push(count(*n)));
        assert_eq!(queued.count(), CAPACITY);
        state.pop();
        state.push(count(7_000));
        state.push(count(8_000));
        let expected: Vec<_> = (1..capacity).chain([3, 7_000, 1]).collect();
        assert_eq!(counts(&mut state), expected);
        assert!(state.events.is_empty() && state.dropped == 0);
    }

    #[test]
    fn disabled_events_start_no_thread() {
        let queue = EventQueue::new(Box::new(NoopLogger));
        queue.emit(Level::Error, || unreachable!("it is not wanted"));
        assert_eq!(queue.0.shared.state().thread, None);
        assert!(!queue.is_busy());
    }

    #[test]
    fn panic_in_enabled_counts_as_yes() {
        struct Panics;
        impl Logger for Panics {
            fn log(&self, _: &Event) {}

            fn enabled(&self, _: Level) -> bool {
                panic!("asked")
            }
        }
        let queue = EventQueue::new(Box::new(Panics));
        queue.emit(Level::Warn, || count(1));
        assert!(queue.0.shared.state().thread.is_some());
        queue.flush(Duration::from_secs(10));
        assert!(!queue.is_busy());
    }
}
