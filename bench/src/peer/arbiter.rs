//! Arbiter as its README takes and frees a lock, on the store of the URL.

use arbiter_lock::{Client, Guard, NoopLogger};
use lines::{Failure, Lock};
use testkit::Server;

#[derive(Clone)]
pub(super) struct Arbiter(Client);

pub(super) async fn connect(url: &str) -> Result<Arbiter, Failure> {
    let builder = Client::builder().store(url).logger(NoopLogger);
    Ok(Arbiter(builder.connect().await?))
}

/// Starts a Sentinel that watches the server of that URL, and connects through it.
pub(super) async fn connect_by_sentinel(url: &str) -> Result<(Server, Arbiter), Failure> {
    let port = url.rsplit(':').next().unwrap_or_default().parse()?;
    let sentinel = Server::builder().sentinel("main", port).start();
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let arbiter = connect(&url).await?;
    Ok((sentinel, arbiter))
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
