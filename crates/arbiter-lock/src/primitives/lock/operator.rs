//! Operations on the holds of other clients, for operators.

use std::time::Duration;

use arbiter_lock_core::{Broken, Request};

use super::Lock;
use crate::errors::error::Error;
use crate::primitives::hand_off::finish_hand_off;
use crate::store::Envelope;

/// The result of [`Lock::ask_to_stop`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// The holder is notified at its next renewal, and its hold is not renewed any more.
    Notified {
        /// How long the hold lasts at most, or `None` if an operator removed its expiry.
        remaining: Option<Duration>,
    },
    /// The hold was detached, so there was no holder to ask. It was ended.
    Ended,
    /// No hold has that fence.
    NotHeld,
}

impl Lock {
    /// Asks the holder with that fence to stop. For operators.
    ///
    /// The holder is notified at its next renewal, with
    /// [`LostReason::Revoked`](crate::LostReason::Revoked), and its hold is not renewed any more.
    /// No waiter is granted before the holder has released, or its lease has run out. A detached hold
    /// ends at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the holder may or may not have been asked.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// use arbiter_lock::LostReason;
    ///
    /// # let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report");
    /// let guard = lock.acquire().await?;
    /// lock.ask_to_stop(guard.fence()).await?;
    /// assert_eq!(guard.lost().await, LostReason::Revoked); // its next renewal reports it
    /// # Ok(()) }
    /// ```
    pub async fn ask_to_stop(&self, fence: u64) -> Result<Asked, Error> {
        Ok(match self.break_hold(fence, false).await? {
            Broken::Asked { remaining_ms } => Asked::Notified {
                remaining: remaining_ms.map(Duration::from_millis),
            },
            Broken::Freed => Asked::Ended,
            Broken::NotHeld => Asked::NotHeld,
        })
    }

    /// Ends the hold with that fence at once, and grants the next waiter. For operators.
    ///
    /// The holder is notified at its next renewal, perhaps after the next waiter was granted. Until
    /// then, only a check of the fence stops its writes. Returns whether there was such a hold.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the hold may or may not have been ended.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report");
    /// let guard = lock.acquire().await?;
    /// assert!(lock.break_now(guard.fence()).await?);
    /// assert!(lock.try_acquire().await?.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn break_now(&self, fence: u64) -> Result<bool, Error> {
        Ok(self.break_hold(fence, true).await? == Broken::Freed)
    }

    /// Ends the hold of an external holder at once, and grants the next waiter. For operators.
    ///
    /// An external holder writes the lock itself, as the Go library does, without a fence and
    /// perhaps without an end. `owner` is the value that it wrote, as [`Lock::inspect`] shows it,
    /// so that the hold of another owner is not ended. The holder is not notified. Returns whether
    /// there was such a hold.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`], [`Error::Invalid`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the hold may or may not have been ended.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let lock = client.lock("report");
    /// if let Some(holder) = lock.inspect().await?.holder.filter(|holder| holder.fence.is_none()) {
    ///     lock.break_external(&holder.owner).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn break_external(&self, owner: &str) -> Result<bool, Error> {
        let owner = owner.into();
        Ok(self.send_break(Request::BreakExternal { owner }).await? == Broken::Freed)
    }

    async fn break_hold(&self, fence: u64, at_once: bool) -> Result<Broken, Error> {
        self.send_break(Request::Break { fence, at_once }).await
    }

    async fn send_break(&self, request: Request) -> Result<Broken, Error> {
        let inner = self.inner.clone();
        let name = self.checked_name()?;
        let breaking = async move {
            let Envelope { reply, again, .. } = inner.send(&name, &request).await?;
            if again {
                finish_hand_off(&inner.handle(), &name).await;
            }
            Ok(reply)
        };
        self.inner.run(|| breaking).await?
    }
}
