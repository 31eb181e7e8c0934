//! Reports of a wait: the holder, and again if it has changed or the wait is long.

use std::time::Duration;

use arbiter_lock::{Contended, Event, Level, Logger};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::cli::{StoreArgs, WorkArgs};
use crate::output::{self, Narrator};

/// How long a wait lasts before the holder is reported, and the least time between two reports.
const DELAY: Duration = Duration::from_secs(1);

/// The contention of a wait.
pub(crate) struct Waits(watch::Receiver<Option<Contended>>);

/// Publishes the latest contention, and prints events.
pub(crate) struct News {
    narrator: Narrator,
    contention: watch::Sender<Option<Contended>>,
}

impl Waits {
    /// Returns a logger, and the waits that it reports.
    pub(crate) fn new(narrator: Narrator) -> (News, Self) {
        let (contention, receiver) = watch::channel(None);
        let news = News {
            narrator,
            contention,
        };
        (news, Self(receiver))
    }

    /// Reports the holder, again if it has changed, and again after each heartbeat. Never ends.
    pub(crate) async fn report(&mut self, work: &WorkArgs, store: &StoreArgs) {
        if work.quiet {
            return std::future::pending().await;
        }
        let begun = Instant::now();
        if !work.verbose {
            sleep(DELAY).await;
        }
        let owner = |contended: &Contended| contended.holder.as_ref().map(|h| h.owner.clone());
        let heartbeat = match work.heartbeat {
            Duration::ZERO => Duration::MAX,
            time => time.max(DELAY),
        };
        let (mut known, mut reported) = (None, Instant::now());
        loop {
            let latest = self.0.borrow_and_update().clone();
            if let Some(contended) = latest {
                let is_new = known.as_ref() != Some(&owner(&contended));
                if is_new || heartbeat <= reported.elapsed() {
                    output::say(&match is_new {
                        true => output::waiting(&contended, store),
                        false => output::still_waiting(&contended, begun.elapsed(), store),
                    });
                    (known, reported) = (Some(owner(&contended)), Instant::now());
                }
            }
            let left = heartbeat.saturating_sub(reported.elapsed());
            match timeout(left, self.0.changed()).await {
                Ok(Err(_)) => return std::future::pending().await,
                Ok(Ok(())) => sleep(DELAY).await,
                Err(_) => {}
            }
        }
    }
}

impl Logger for News {
    fn log(&self, event: &Event) {
        if let Event::Waiting(contended) = event {
            self.contention.send_replace(Some((**contended).clone()));
        }
        self.narrator.log(event);
    }

    fn enabled(&self, level: Level) -> bool {
        level == Level::Info || self.narrator.enabled(level)
    }
}
