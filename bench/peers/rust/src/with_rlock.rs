//! rlock, which renews at half the lease.

use rlock::AcquireOptions;
use rlock::async_lock::{RLock, RLockGuard};

use lines::{Failure, Lock};

use crate::LEASE;

#[derive(Clone)]
pub(crate) struct WithRlock {
    rlock: RLock,
    options: AcquireOptions,
}

pub(crate) async fn connect(url: &str) -> Result<WithRlock, Failure> {
    Ok(WithRlock {
        rlock: RLock::new(url).await?,
        options: AcquireOptions::builder().ttl(LEASE).build()?,
    })
}

impl Lock for WithRlock {
    type Held = RLockGuard;

    async fn acquire(&self, name: &str) -> Result<RLockGuard, Failure> {
        let options = self.options.clone();
        Ok(self.rlock.acquire_mutex_with_options(name, options).await?)
    }

    async fn release(&self, mut held: RLockGuard) -> Result<(), Failure> {
        Ok(held.release().await?)
    }
}
