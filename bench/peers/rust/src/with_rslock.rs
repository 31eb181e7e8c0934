//! rslock as its README takes and frees a lock, without the slower `using`, which would renew it.
//! It connects at the first lock, and retries forever when the server fails.

use rslock::{LockGuard, LockManager};

use lines::{Failure, Lock};

use crate::LEASE;

#[derive(Clone)]
pub(crate) struct WithRslock(LockManager);

pub(crate) async fn connect(url: &str) -> Result<WithRslock, Failure> {
    let manager = LockManager::new(vec![url]);
    let own = format!("ready-{}", std::process::id());
    manager.lock(own.as_str(), LEASE).await?.release().await;
    Ok(WithRslock(manager))
}

impl Lock for WithRslock {
    type Held = LockGuard;

    async fn acquire(&self, name: &str) -> Result<LockGuard, Failure> {
        Ok(self.0.acquire(name, LEASE).await?)
    }

    async fn release(&self, held: LockGuard) -> Result<(), Failure> {
        held.release().await;
        Ok(())
    }
}
