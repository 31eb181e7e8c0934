//! The guard of a run, which records its end and releases the resource.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::ending::Ending;
use super::record::Record;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::holds::guard::Guard;
use crate::holds::hold::Hold;
use crate::primitives::effort::Effort;

/// How long recording the end of a run is retried.
const RECORDING: Duration = Duration::from_secs(5);

/// A run that has begun: see [`Once::begin`](crate::Once::begin).
///
/// It derefs to [`Hold`], which has the fence and reports a loss. If it is dropped without
/// [`RunGuard::finish`], the resource is released and the run counts as crashed.
#[must_use = "a run that is dropped at once has crashed"]
pub struct RunGuard {
    pub(super) guard: Guard,
    pub(super) record: Record,
}

impl RunGuard {
    /// Returns the view of the hold, which can be cloned.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        self.guard.hold()
    }

    /// Records how the run ended, with a short text, and releases the resource.
    ///
    /// The end is recorded even if the hold was lost, unless a later run has begun. If it cannot be
    /// recorded within 5 s, an [event](crate::Event::EndNotRecorded) is logged; that is not an
    /// error. A release that fails continues in the background.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was over before, or was ended externally: the work was not
    /// protected until its end.
    ///
    /// # Cancel safety
    /// If the future is dropped, the end may or may not be recorded. The resource is released in
    /// the background.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// use std::time::Duration;
    /// use arbiter_lock::Begun;
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// let job = client.once("import").every(Duration::from_secs(3_600));
    /// if let Begun::Run(run) = job.begin().await? {
    ///     println!("fence {}", run.fence());
    ///     run.finish(Ok("7 files")).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn finish(mut self, outcome: Result<&str, &str>) -> Result<(), Error> {
        let (inner, span) = (self.record.inner.clone(), self.guard.take_span());
        let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
        let finishing = async move {
            let outcome = outcome.as_deref().map_err(|why| why.as_str());
            let Self { guard, record } = self;
            // Checked first: the work has ended now, however long recording that takes.
            let over = guard.hold().state.over();
            let limit = over.map_or(RECORDING, |_| Duration::ZERO);
            let effort = Effort::within(record.inner.clone(), limit);
            let ending = Ending::from(outcome);
            record.finish(guard.hold(), ending, &effort).await;
            if let Some(reason) = over {
                return Err(guard.hold().state.lost(reason));
            }
            match guard.release().await {
                Err(Error::Lost(loss)) if is_external(loss.reason) => Err(Error::Lost(loss)),
                // If this fails, the keeper continues the release.
                _ => Ok(()),
            }
        };
        let finished = inner.run(|| finishing).await.and_then(|done| done);
        span.end(&finished);
        finished
    }
}

/// Returns whether another holder may have been granted while the work ran. A hold that ran out did
/// so only while its end was being recorded.
fn is_external(reason: LostReason) -> bool {
    matches!(reason, LostReason::Taken | LostReason::Deleted)
}

impl Deref for RunGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        self.hold()
    }
}

impl fmt::Debug for RunGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RunGuard").field(self.hold()).finish()
    }
}
