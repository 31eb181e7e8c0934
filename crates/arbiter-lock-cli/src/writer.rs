//! Writes to stderr on a separate thread. So a full pipe blocks neither the supervision of the
//! command nor a wait.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

/// How many messages may be queued.
const CAPACITY: usize = 1_024;

/// How long the program waits at its end for messages that are not written.
const LIMIT: Duration = Duration::from_secs(1);

/// The queue of the thread, or `None` if no thread can be started.
static MESSAGES: OnceLock<Option<SyncSender<String>>> = OnceLock::new();

/// The number of queued messages that are not written.
static UNWRITTEN: AtomicUsize = AtomicUsize::new(0);

/// The number of messages that were dropped since the queue was full.
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// Queues a message. Never blocks if a thread can be started.
pub(crate) fn write(message: String) {
    let Some(messages) = MESSAGES.get_or_init(start) else {
        return put(&message);
    };
    UNWRITTEN.fetch_add(1, Ordering::SeqCst);
    match messages.try_send(message) {
        Ok(()) => {}
        Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
            DROPPED.fetch_add(1, Ordering::SeqCst);
            UNWRITTEN.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Waits until all messages are written, for at most [`LIMIT`].
pub(crate) fn flush() {
    let begun = Instant::now();
    while 0 < UNWRITTEN.load(Ordering::SeqCst) && begun.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn start() -> Option<SyncSender<String>> {
    let (messages, written) = sync_channel(CAPACITY);
    let thread = std::thread::Builder::new().name("stderr".into());
    thread.spawn(move || write_all(&written)).ok()?;
    Some(messages)
}

fn write_all(messages: &Receiver<String>) {
    // A terminal that stops background processes which write (`stty tostop`) must not stop arbiter.
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGTTOU);
    let _ = blocked.thread_block();
    for message in messages {
        put(&message);
        let dropped = DROPPED.swap(0, Ordering::SeqCst);
        if 0 < dropped {
            put(&format!(
                "arbiter: {dropped} messages were dropped: stderr was not read\n"
            ));
        }
        UNWRITTEN.fetch_sub(1, Ordering::SeqCst);
    }
}

fn put(message: &str) {
    // The reader may have closed the pipe.
    let _ = std::io::stderr().write_all(message.as_bytes());
}
