//! rslock as its README takes and frees a lock, without the slower `using`, which would renew it.
//! It connects at the first lock, and tries for ever when the server fails.

use rslock::{LockGuard, LockManager};

use crate::peer::Lock;
use crate::{Failure, LEASE};

pub(crate) async fn connect(url: &str) -> Result<LockManager, Failure> {
    let manager = LockManager::new(vec![url]);
    let own = format!("ready-{}", std::process::id());
    manager.lock(own.as_str(), LEASE).await?.release().await;
    Ok(manager)
}

impl Lock for LockManager {
    type Held = LockGuard;

    async fn acquire(&self, name: &str) -> Result<LockGuard, Failure> {
        Ok(Self::acquire(self, name, LEASE).await?)
    }

    async fn release(held: LockGuard) -> Result<(), Failure> {
        held.release().await;
        Ok(())
    }
}
