//! The guard of a leadership, which resigns it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::checked_value;
use crate::engine::Engine;
use crate::errors::error::Error;
use crate::holds::guard::Guard;
use crate::holds::hold::Hold;
use crate::primitives::effort::Effort;
use arbiter_lock_core::Request;

/// Leads an [`Election`](crate::Election) until it is resigned or dropped, or the hold is lost.
///
/// It derefs to [`Hold`], which has the fence and reports a loss. Dropping it resigns in the
/// background, as with a [`Guard`].
#[must_use = "leadership that is dropped at once is resigned"]
pub struct Leadership {
    guard: Guard,
    inner: Arc<Engine>,
}

impl Leadership {
    /// Proclaims the value. If that fails, the drop of the guard resigns.
    pub(super) async fn begin(
        guard: Guard,
        inner: Arc<Engine>,
        value: &str,
        effort: &Effort,
    ) -> Result<Self, Error> {
        proclaim(&inner, guard.hold(), value, effort).await?;
        Ok(Self { guard, inner })
    }

    /// Returns the view of the hold, which can be cloned.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        self.guard.hold()
    }

    /// Proclaims another value, of at most
    /// [`MAX_VALUE_BYTES`](crate::Election::MAX_VALUE_BYTES).
    ///
    /// If the store does not answer, the request is sent again, for as long as the hold is valid
    /// and for at most 30 s. A request that was sent but never answered may arrive late. Its value
    /// then replaces a later one, until the next is proclaimed.
    ///
    /// # Errors
    /// - [`Error::Lost`] if the hold is over.
    /// - [`Error::Unavailable`] or [`Error::Refused`] if the store did not confirm it.
    /// - [`Error::Invalid`] for a value that is too long.
    ///
    /// # Cancel safety
    /// If the future is dropped, the value may or may not have been proclaimed. The leadership is
    /// unchanged.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let election = client.election("scheduler");
    /// let leadership = election.campaign("starting").await?;
    /// leadership.proclaim("ready").await?;
    /// let leader = election.leader().await?.expect("a leader");
    /// assert_eq!(leader.value.as_deref(), Some("ready"));
    /// # Ok(()) }
    /// ```
    pub async fn proclaim(&self, value: &str) -> Result<(), Error> {
        let value = checked_value(value)?.to_owned();
        let (inner, hold) = (self.inner.clone(), self.hold().clone());
        let proclaiming = async move {
            let effort = Effort::until_silent(inner.clone());
            proclaim(&inner, &hold, &value, &effort).await
        };
        self.inner.run(|| proclaiming).await?
    }

    /// Ends the leadership, so that the next candidate leads.
    ///
    /// # Errors
    /// As [`Guard::release`]: [`Error::Lost`] if the leadership was over before.
    ///
    /// # Cancel safety
    /// As [`Guard::release`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let election = client.election("scheduler");
    /// election.campaign("one").await?.resign().await?;
    /// assert!(election.leader().await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn resign(self) -> Result<(), Error> {
        self.guard.release().await
    }
}

async fn proclaim(
    inner: &Arc<Engine>,
    hold: &Hold,
    value: &str,
    effort: &Effort,
) -> Result<(), Error> {
    let proclamation = Request::Proclaim {
        owner: hold.state.contender.id.clone(),
        fence: hold.fence(),
        value: value.into(),
    };
    let handle = inner.handle();
    let step = |limit| handle.send(&hold.state.name, &proclamation, limit);
    effort.write(hold, step).await
}

impl Deref for Leadership {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        self.hold()
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Leadership").field(self.hold()).finish()
    }
}
