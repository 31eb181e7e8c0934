//! Arbiter as its README takes and frees a lock, on whatever store the URL names.

use arbiter_lock::{Client, Guard, NoopLogger};

use super::lock::Lock;
use crate::Failure;

pub(super) async fn connect(url: &str) -> Result<Client, Failure> {
    let builder = Client::builder().store(url).logger(NoopLogger);
    Ok(builder.connect().await?)
}

impl Lock for Client {
    type Held = Guard;

    const WAITS: bool = true;

    async fn acquire(&self, name: &str) -> Result<Guard, Failure> {
        Ok(self.lock(name).acquire().await?)
    }

    async fn release(&self, held: Guard) -> Result<(), Failure> {
        Ok(held.release().await?)
    }
}
