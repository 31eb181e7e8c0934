//! async-redis-lock, which extends at a third of the lease.

use async_redis_lock::{Lock as Held, Locker, Options};

use lines::{Failure, Lock};

use crate::LEASE;

#[derive(Clone)]
pub(crate) struct WithAsyncRedisLock {
    locker: Locker,
    options: Options,
}

pub(crate) async fn connect(url: &str) -> Result<WithAsyncRedisLock, Failure> {
    Ok(WithAsyncRedisLock {
        locker: Locker::from_redis_url(url).await?,
        options: Options::new().timeout(None).ttl(LEASE).extend(LEASE / 3),
    })
}

impl Lock for WithAsyncRedisLock {
    type Held = Held;

    async fn acquire(&self, name: &str) -> Result<Held, Failure> {
        Ok(self
            .locker
            .acquire_with_options(&self.options, name)
            .await?)
    }

    async fn release(&self, held: Held) -> Result<(), Failure> {
        Ok(held.release().await?)
    }
}
