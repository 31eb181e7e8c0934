//! The guard of a run: finished, or dropped, the next may come.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::ending::Ending;
use super::record::Record;
use super::rules::Rules;
use crate::errors::error::Error;
use crate::errors::lost_reason::LostReason;
use crate::holds::guard::Guard;
use crate::holds::hold::Hold;
use crate::primitives::effort::Effort;

/// For how long the end of a run is tried to be recorded.
const RECORDING: Duration = Duration::from_secs(5);

/// A run that has begun: see [`Once::begin`](crate::Once::begin).
///
/// It derefs to [`Hold`]: the fence, and how to be told of a loss. Dropped without
/// [`RunGuard::finish`], it frees the resource and leaves the run without an end: it counts as
/// one that crashed.
#[must_use = "a run that is dropped at once has crashed"]
pub struct RunGuard {
    pub(super) guard: Guard,
    pub(super) record: Record,
    pub(super) rules: Rules,
}

impl RunGuard {
    /// The view of the hold, to be cloned.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        self.guard.hold()
    }

    /// Records how the run ended, with a word about it for people, and releases the resource. The
    /// end is recorded even if the hold was lost, unless somebody has begun anew. A record that
    /// fails for 5 s is an [event](crate::Event::EndNotRecorded) and no error, and a release that
    /// fails is left to the keeper.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was over before, or was ended from outside: the work was not
    /// protected to its end.
    ///
    /// # Cancel safety
    /// Dropped, the end may be recorded or not, and the keeper releases.
    pub async fn finish(self, outcome: Result<&str, &str>) -> Result<(), Error> {
        let inner = self.record.inner.clone();
        let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
        let finishing = async move {
            let outcome = outcome.as_deref().map_err(|why| why.as_str());
            let Self {
                guard,
                record,
                rules,
            } = self;
            // Asked for now: the work has ended now, however long it takes to say so.
            let over = guard.hold().state.over();
            let limit = over.map_or(RECORDING, |_| Duration::ZERO);
            let effort = Effort::within(record.inner.clone(), limit);
            let ending = Ending::from(outcome);
            record.finish(guard.hold(), ending, &rules, &effort).await;
            if let Some(reason) = over {
                return Err(guard.hold().state.lost(reason));
            }
            match guard.release().await {
                Err(Error::Lost(loss)) if is_from_outside(loss.reason) => Err(Error::Lost(loss)),
                // The keeper goes on where the store did not do it.
                _ => Ok(()),
            }
        };
        inner.run(|| finishing).await?
    }
}

/// Whether somebody else may have come in while the work went on; a hold that ran out did so only
/// while its end was being recorded.
fn is_from_outside(reason: LostReason) -> bool {
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
