//! Arbiter as its README takes and frees a lock, on whatever store the URL names.

use arbiter_lock::{Client, Guard, NoopLogger};
use lines::{Failure, Lock};

#[derive(Clone)]
pub(super) struct Arbiter(Client);

pub(super) async fn connect(url: &str) -> Result<Arbiter, Failure> {
    let builder = Client::builder().store(url).logger(NoopLogger);
    Ok(Arbiter(builder.connect().await?))
}

impl Arbiter {
    pub(super) fn lock(&self, name: &str) -> arbiter_lock::Lock {
        self.0.lock(name)
    }
}

impl Lock for Arbiter {
    type Held = Guard;

    async fn acquire(&self, name: &str) -> Result<Guard, Failure> {
        Ok(self.lock(name).acquire().await?)
    }

    async fn release(&self, held: Guard) -> Result<(), Failure> {
        Ok(held.release().await?)
    }
}
