//! A hold as its holder sees it: valid until its deadline less the margin.
//!
//! A loss is final. Every access to a hold reads the clock, so a process that was stopped past the
//! deadline detects the loss at its first access, and no thread has to be awake for it.

mod state;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::errors::error::{Error, Loss};
use crate::errors::lost_reason::LostReason;
pub(crate) use state::{Exclusivity, Granted, HoldState, Validity, Writer};

/// A view of a hold.
///
/// It is cheap to clone, and does not keep the hold: that ends when its [`Guard`](crate::Guard) is
/// released or dropped, or when it is lost.
#[derive(Clone)]
pub struct Hold {
    pub(crate) state: Arc<HoldState>,
}

impl Hold {
    /// Returns the name of the resource.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.name.as_str()
    }

    /// Returns the owner as recorded in the store: the id of the request that was granted.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.state.contender.id
    }

    /// Returns the fencing token: a number below 2^53.
    ///
    /// It is greater than the token of every earlier exclusive hold of this name. Pass it to the
    /// protected resource with each write, and have the resource reject an older token.
    ///
    /// The token of a shared hold ([`Hold::is_shared`]) is greater than that of every exclusive
    /// hold before it, and smaller than that of every exclusive hold after it. Tokens of concurrent
    /// shared holds are in no order: a resource that rejects older tokens would reject one of two
    /// readers. So use the token for the writes of exclusive holds only.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let first = client.lock("report").acquire().await?;
    /// let older = first.fence();
    /// first.release().await?;
    /// let guard = client.lock("report").acquire().await?;
    /// assert!(older < guard.fence());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.state.fence
    }

    /// Returns whether other holders may exist.
    ///
    /// It is true for a reader, for permits, and for a writer that was, or may have been,
    /// downgraded.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.state.is_shared()
    }

    /// Returns whether the hold is valid now, by the local clock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state.over().is_none()
    }

    /// Returns how long the hold stays valid without another renewal, or zero if it is over.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # use std::time::Duration;
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").acquire().await?;
    /// if Duration::from_secs(5) < guard.remaining() {
    ///     // Work of at most 5 s ends under this hold.
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.state.remaining()
    }

    /// Returns why the hold is over, or `None` while it is valid.
    ///
    /// If the lease ran out without a renewal, [`Loss::cause`] is the store's last answer.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").acquire().await?;
    /// assert!(guard.loss().is_none());
    /// client.lock("report").break_now(guard.fence()).await?;
    /// guard.refresh().await.unwrap_err();
    /// println!("{}", guard.loss().expect("a loss"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        self.state.over().map(|reason| self.state.loss(reason))
    }

    /// Waits until the hold is over, and returns the reason.
    ///
    /// The reason may be [`LostReason::Released`].
    ///
    /// # Cancel safety
    /// The future can be dropped and recreated at any time. No loss is missed.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), arbiter_lock::Error> {
    /// # let client = arbiter_lock::Client::in_memory();
    /// let guard = client.lock("report").acquire().await?;
    /// tokio::select! {
    ///     reason = guard.lost() => println!("stop: {reason}"),
    ///     () = async { /* the work */ } => guard.release().await?,
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> Lost {
        Lost {
            state: self.state.clone(),
            waker_slot: None,
        }
    }

    /// Runs `work` while the hold is valid, and drops it as soon as the hold is over.
    ///
    /// This neither acquires nor releases; [`Lock::run`](crate::Lock::run) does both. The work is
    /// dropped at an `.await`. Work that does not await runs to its end, and its result is
    /// discarded if the hold was over by then.
    ///
    /// # Errors
    /// [`Error::Lost`] if the hold was over before the work finished, also if it was released. If
    /// it was over from the beginning, the work is not polled.
    ///
    /// # Cancel safety
    /// If the future is dropped, the work is dropped too. The hold is unchanged.
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
    /// // Work that takes too long is dropped after a minute.
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

/// A future that completes when a hold is over: see [`Hold::lost`].
#[must_use = "futures do nothing unless polled"]
pub struct Lost {
    state: Arc<HoldState>,
    /// The slot of its waker in the hold's list.
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
