//! The requests to the store: the list, a lock, a break. At most one of each at a time.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use arbiter_lock::{Client, Error, List, Printable};

use super::reading::{Reading, TopRow};
use super::view::{Confirmation, Input};
use crate::cli::{Selection, SortKey};
use crate::commands::r#break::{EndOfHold, Manner, end, not_held};
use crate::commands::row::is_wanted;
use crate::commands::status::{inspect, shown_lines};

/// A request that runs, and ends with an input of the view.
#[derive(Default)]
pub(super) struct Job(Option<Pin<Box<dyn Future<Output = Input>>>>);

impl Job {
    pub(super) fn start(&mut self, job: impl Future<Output = Input> + 'static) {
        self.0 = Some(Box::pin(job));
    }

    pub(super) const fn is_running(&self) -> bool {
        self.0.is_some()
    }

    /// Ends the request without its answer.
    pub(super) fn cancel(&mut self) {
        self.0 = None;
    }

    /// Waits for the end of the request; forever if none runs.
    ///
    /// Cancel safe.
    pub(super) async fn ended(&mut self) -> Input {
        let Some(job) = &mut self.0 else {
            return std::future::pending().await;
        };
        let input = job.await;
        self.0 = None;
        input
    }
}

/// When to read again: after the interval, and not more often than reading takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    interval: Duration,
    begun: Instant,
    pub(super) due: Instant,
    is_hurried: bool,
}

impl Schedule {
    /// Makes a schedule whose first reading is due at once, also if the view is paused.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            begun: now,
            due: now,
            is_hurried: true,
        }
    }

    /// Returns whether to read now.
    pub(super) fn is_due(&self, now: Instant, is_paused: bool) -> bool {
        self.is_hurried || (!is_paused && self.due <= now)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        (self.begun, self.is_hurried) = (now, false);
    }

    /// Sets when to read again: the store has as long without a reading as the last one took.
    pub(super) fn end(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        self.due = (self.begun + self.interval).max(now + took);
    }

    /// Reads again as soon as the present reading has ended.
    pub(super) fn hurry(&mut self) {
        self.is_hurried = true;
    }
}

/// How often the rows that were read so far are shown.
const PROGRESS: Duration = Duration::from_millis(500);

/// A reading of the locks that has begun.
pub(super) struct Listing {
    locks: List,
    selection: Selection,
    reading: Reading,
    /// When the rows that were read so far are shown next.
    progress: Instant,
}

impl Listing {
    pub(super) fn new(client: &Client, selection: &Selection, key: SortKey, filter: &str) -> Self {
        let now = Instant::now();
        Self {
            locks: client.list(&selection.pattern),
            selection: selection.clone(),
            reading: Reading::new(key, filter, now),
            progress: now + PROGRESS,
        }
    }

    /// Reads on, until there is an input for the view.
    pub(super) fn run(mut self) -> RunningList {
        Box::pin(async move { (self.next().await, self) })
    }

    /// Reads on until the end, or until the rows so far are to be shown.
    async fn next(&mut self) -> Input {
        loop {
            match self.locks.next().await {
                Ok(Some(lock)) => {
                    if is_wanted(&self.selection, &lock.status) {
                        self.reading.add(TopRow::of(&lock));
                    }
                }
                Ok(None) => {
                    let mut reading = self.reading.clone();
                    reading.finish();
                    return Input::Listed(Ok(reading));
                }
                Err(error) => return Input::Listed(Err(error.to_string())),
            }
            if self.progress <= Instant::now() {
                self.progress = Instant::now() + PROGRESS;
                let mut so_far = self.reading.clone();
                so_far.prune();
                return Input::SoFar(so_far);
            }
        }
    }
}

/// A reading that runs. Other events do not end a request of it, which may take long.
pub(super) type RunningList = Pin<Box<dyn Future<Output = (Input, Listing)>>>;

/// Reads on, if a reading has begun; else waits forever. Its end ends the reading.
///
/// Cancel safe.
pub(super) async fn listed(running: &mut Option<RunningList>) -> Input {
    let Some(list) = running else {
        return std::future::pending().await;
    };
    let (input, listing) = list.await;
    *running = match input {
        Input::Listed(_) => None,
        _ => Some(listing.run()),
    };
    input
}

/// Reads one lock.
pub(super) async fn details(client: Client, name: String) -> Input {
    let lines = inspect(&client, &name).await;
    let lines = lines.map(|(status, last)| shown_lines(&name, &status, last.as_ref()));
    Input::Inspected(name, lines.map_err(|error| error.to_string()))
}

/// Breaks a hold, and no other one of that name.
pub(super) async fn break_hold(
    client: Client,
    confirmation: Confirmation,
    manner: Manner,
) -> Input {
    let Confirmation { name, hold } = confirmation;
    let lock = client.lock(&name);
    let ended: Result<String, Error> = async {
        let shown = Printable(&name);
        Ok(match end(&lock, &hold.hold, manner).await? {
            EndOfHold::NotHeld => {
                let changed = not_held(&lock, &shown, Some(&hold.hold)).await?;
                format!("nothing was broken: {changed}")
            }
            ended @ EndOfHold::Endless => format!("'{shown}': {ended}: b and ! end it now"),
            ended => format!("'{shown}': {ended}"),
        })
    }
    .await;
    Input::Outcome(ended.unwrap_or_else(|error| format!("the break failed: {error}")))
}
