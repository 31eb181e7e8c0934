//! A hold as its holder sees it: believed until its deadline less the margin, and told when not.
//!
//! Lost is final. Every look at a hold reads the clock, so that a process that was stopped past
//! its deadline finds out at its first look, and nothing has to be awake for it.

mod state;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::errors::error::{Error, Loss};
use crate::errors::lost_reason::LostReason;
pub(crate) use state::{Exclusivity, Granted, HoldState, Validity, Writer};

/// A view of a hold: it can be cloned and handed around, and keeps nothing alive.
///
/// The hold ends when its [`Guard`](crate::Guard) is released or dropped, whoever still has
/// a view of it.
#[derive(Clone)]
pub struct Hold {
    pub(crate) state: Arc<HoldState>,
}

impl Hold {
    /// The name of the resource.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name.as_str()
    }

    /// The owner that stands in the store: the id of this very request.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.state.contender.id
    }

    /// The fencing token: below 2^53, and greater than that of every earlier hold of this name
    /// that excluded others. Hand it to the resource with each write, and let the resource refuse
    /// an older one.
    ///
    /// A shared hold ([`Hold::is_shared`]) has a token too, greater than that of every exclusive
    /// hold before it and smaller than that of every one after it. Among each other those who
    /// share are in no order: a resource that refuses older tokens would refuse one of two
    /// readers. So use it for the writes of exclusive holds only.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.state.fence
    }

    /// Whether others may hold beside this one: it is that of a reader, of permits, or of a
    /// writer that was downgraded, or perhaps was.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.state.is_shared()
    }

    /// Whether the hold may be believed at this moment, by the local clock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state.over().is_none()
    }

    /// For how long the hold may be believed if nothing more is heard from the store; zero
    /// when it is over. The watchdog prolongs it again and again.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state.remaining()
    }

    /// Returns why the hold is over, with the store's last answer if its lease ran out unrenewed;
    /// `None` while it may be believed.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        self.state.over().map(|reason| self.state.loss(reason))
    }

    /// Ends when the hold is over, with the reason; [`LostReason::Released`] is among them.
    ///
    /// # Cancel safety
    /// It can be dropped and made anew at any time; no loss is missed.
    pub fn lost(&self) -> Lost {
        Lost {
            state: self.state.clone(),
            waker_slot: None,
        }
    }

    /// Runs the work while the hold lasts, and drops it as soon as the hold is lost.
    ///
    /// It neither acquires nor releases: [`Lock::run`](crate::Lock::run) does all three. The work
    /// is dropped at an `.await`. Work that does not await goes on to its end, and its result is
    /// discarded if the hold was over by then.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was over before the work finished, also if it was released. If
    /// it was over from the beginning, the work is not polled.
    ///
    /// # Cancel safety
    /// Dropped, it drops the work, and the hold is as it was.
    ///
    /// # Examples
    /// ```
    /// use std::future::pending;
    /// use std::time::Duration;
    /// use arbiter_lock::Client;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// let lock = Client::in_memory().lock("report").max_hold(Duration::from_secs(60));
    /// let guard = lock.acquire().await?;
    /// assert_eq!(guard.protect(async { "written" }).await?, "written");
    /// assert!(guard.is_held());
    ///
    /// // Work that takes too long: it is dropped after a minute.
    /// let error = guard.protect(pending::<()>()).await.unwrap_err();
    /// assert!(error.is_lost());
    /// # Ok(()) }
    /// ```
    pub async fn protect<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let done = tokio::select! {
            biased;
            reason = self.lost() => return Err(self.state.lost(reason)),
            done = work => done,
        };
        match self.state.over() {
            Some(reason) => Err(self.state.lost(reason)),
            None => Ok(done),
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("name", &self.name())
            .field("owner", &self.owner())
            .field("fence", &self.fence())
            .field("shared", &self.is_shared())
            .field("over", &self.state.over())
            .finish()
    }
}

/// A future that ends when a hold is over: see [`Hold::lost`].
#[must_use = "futures do nothing unless polled"]
pub struct Lost {
    state: Arc<HoldState>,
    /// Where its waker stands.
    waker_slot: Option<u64>,
}

impl Future for Lost {
    type Output = LostReason;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LostReason> {
        let state = self.state.clone();
        match state.poll_over(&mut self.waker_slot, cx.waker()) {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }
}

impl Clone for Lost {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            waker_slot: None,
        }
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if let Some(slot) = self.waker_slot {
            self.state.remove_waker(slot);
        }
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost")
            .field("name", &self.state.name.as_str())
            .finish()
    }
}
