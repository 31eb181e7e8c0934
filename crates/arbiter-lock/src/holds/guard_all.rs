//! The guard of several holds, which releases all of them.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join_all, select_all};

use crate::errors::error::{Error, Loss};
use crate::holds::guard::Guard;

/// Holds several resources until it is released or dropped.
///
/// Each hold may be lost on its own. Dropping it releases in the background, as with a [`Guard`].
#[derive(Debug)]
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct GuardAll {
    /// In the order of their names' bytes; never empty.
    guards: Vec<Guard>,
}

impl GuardAll {
    pub(crate) fn new(guards: Vec<Guard>) -> Self {
        Self { guards }
    }

    /// Returns the guards, in the order of their names' bytes.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// Returns the fencing token of that name, or `None` if it is not among the guards.
    #[must_use]
    pub fn fence(&self, name: &str) -> Option<u64> {
        let guard = self.guards.iter().find(|guard| guard.name() == name);
        guard.map(|guard| guard.fence())
    }

    /// Returns whether all holds are valid now, by the local clock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.guards.iter().all(|guard| guard.is_held())
    }

    /// Returns how long all holds stay valid without another renewal: the shortest of
    /// [`Hold::remaining`](crate::Hold::remaining). Zero if one is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let each = self.guards.iter().map(|guard| guard.remaining());
        each.min().unwrap_or_default()
    }

    /// Waits until the first hold is over, and returns its name and the reason.
    ///
    /// The reason may be [`LostReason::Released`](crate::LostReason::Released).
    ///
    /// # Cancel safety
    /// The future can be dropped and recreated at any time. No loss is missed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let both = client.lock_all(["a", "b"]).acquire().await?;
    /// tokio::select! {
    ///     loss = both.lost() => println!("stop: {loss}"),
    ///     () = async { /* the work */ } => {}
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        let each = self.guards.iter().map(|guard| {
            let state = guard.hold().state.clone();
            guard.lost().map(move |reason| state.loss(reason))
        });
        select_all(each.collect::<Vec<_>>()).map(|(loss, _, _)| loss)
    }

    /// Releases all holds concurrently. Each release is tried, even if another fails.
    ///
    /// # Errors
    /// As [`Guard::release`]: the error of the first name that failed.
    ///
    /// # Cancel safety
    /// As [`Guard::release`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let both = client.lock_all(["a", "b"]).acquire().await?;
    /// assert!(both.is_held());
    /// both.release().await?;
    /// assert!(!client.lock("a").inspect().await?.is_held());
    /// # Ok(()) }
    /// ```
    pub async fn release(self) -> Result<(), Error> {
        let releasing = self.guards.into_iter().map(Guard::release);
        join_all(releasing).await.into_iter().collect()
    }

    /// Returns an error if a hold is over.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for guard in &self.guards {
            if let Some(reason) = guard.state.over() {
                return Err(guard.state.lost(reason));
            }
        }
        Ok(())
    }
}
