//! Leadership: held until it is resigned, dropped or lost.

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

/// Leads until it is resigned or dropped, or the hold is lost: see
/// [`Election`](crate::Election).
///
/// It derefs to [`Hold`]: the fence, and how to be told of a loss. Dropped, it is resigned in the
/// background, as a [`Guard`] is released.
#[must_use = "leadership that is dropped at once is resigned"]
pub struct Leadership {
    guard: Guard,
    inner: Arc<Engine>,
}

impl Leadership {
    /// Proclaims the value; without it, the guard goes.
    pub(super) async fn begin(
        guard: Guard,
        inner: Arc<Engine>,
        value: &str,
        effort: &Effort,
    ) -> Result<Self, Error> {
        proclaim(&inner, guard.hold(), value, effort).await?;
        Ok(Self { guard, inner })
    }

    /// The view of the hold, to be cloned.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        self.guard.hold()
    }

    /// Proclaims another value, of at most
    /// [`MAX_VALUE_BYTES`](crate::Election::MAX_VALUE_BYTES). A store that does not answer is
    /// asked again, for as long as the hold lasts and for 30 s at the most. What was sent and never
    /// answered may arrive late, and then stands in place of a later value until the next one.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold is over; [`Error::Unavailable`] or [`Error::Refused`] if the
    /// store did not do it, or did not say that it has; [`Error::Invalid`] for a value that is
    /// too long.
    ///
    /// # Cancel safety
    /// Dropped, the value may be proclaimed or not, and the leadership is as it was.
    pub async fn proclaim(&self, value: &str) -> Result<(), Error> {
        let value = checked_value(value)?.to_owned();
        let (inner, hold) = (self.inner.clone(), self.hold().clone());
        let proclaiming = async move {
            let effort = Effort::until_silent(inner.clone());
            proclaim(&inner, &hold, &value, &effort).await
        };
        self.inner.run(|| proclaiming).await?
    }

    /// Resigns, and hands over to the next in order.
    ///
    /// # Errors
    /// As [`Guard::release`]: [`Error::Lost`] if the leadership was over before.
    ///
    /// # Cancel safety
    /// As [`Guard::release`]: dropped, the keeper goes on with it.
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
