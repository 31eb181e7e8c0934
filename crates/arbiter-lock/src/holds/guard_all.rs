//! The guard of several holds: released, or dropped, all of them are free.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join_all, select_all};

use crate::errors::error::{Error, Loss};
use crate::holds::guard::Guard;

/// Holds several resources until it is released or dropped; each of them may be lost on its own.
///
/// Dropping it posts the releases to the keeper, as that of a [`Guard`] does.
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

    /// The guards, in the order of their names' bytes.
    pub fn guards(&self) -> &[Guard] {
        &self.guards
    }

    /// The fencing token of that name; `None` where it is not among them.
    #[must_use]
    pub fn fence(&self, name: &str) -> Option<u64> {
        let guard = self.guards.iter().find(|guard| guard.name() == name);
        guard.map(|guard| guard.fence())
    }

    /// Whether all holds may be believed at this moment, by the local clock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.guards.iter().all(|guard| guard.is_held())
    }

    /// For how long all holds may be believed if nothing more is heard from the store: the least
    /// of them; zero when one is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let each = self.guards.iter().map(|guard| guard.remaining());
        each.min().unwrap_or_default()
    }

    /// Ends when the first hold is over, with its name and the reason;
    /// [`LostReason::Released`](crate::LostReason::Released) is among them.
    ///
    /// # Cancel safety
    /// It can be dropped and made anew at any time; no loss is missed.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        let each = self.guards.iter().map(|guard| {
            let state = guard.hold().state.clone();
            guard.lost().map(move |reason| state.loss(reason))
        });
        select_all(each.collect::<Vec<_>>()).map(|(loss, _, _)| loss)
    }

    /// Releases all of them at the same time. Each is tried, whatever becomes of the others.
    ///
    /// # Errors
    /// As [`Guard::release`]; that of the first name for which there was one.
    ///
    /// # Cancel safety
    /// Dropped, the keeper finishes what is left, as with a dropped guard.
    pub async fn release(self) -> Result<(), Error> {
        let releasing = self.guards.into_iter().map(Guard::release);
        join_all(releasing).await.into_iter().collect()
    }

    /// The first loss that there was, if there was one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for guard in &self.guards {
            if let Some(reason) = guard.state.over() {
                return Err(guard.state.lost(reason));
            }
        }
        Ok(())
    }
}
