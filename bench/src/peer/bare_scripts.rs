//! The minimal cost of Arbiter: its own two scripts on one multiplexed connection, without
//! validity, renewals or waiters.

use redis::aio::MultiplexedConnection;

use super::bare::multiplexed;
use crate::scripts::{ACQUIRE, END, Keys, Request};
use lines::{Failure, Lock};

#[derive(Clone)]
pub(super) struct BareScripts {
    connection: MultiplexedConnection,
}

pub(super) struct Held {
    keys: Keys,
    request: Request,
}

impl BareScripts {
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let mut connection = multiplexed(url).await?;
        for script in [&*ACQUIRE, &*END] {
            let _: String = script.load().query_async(&mut connection).await?;
        }
        Ok(Self { connection })
    }
}

impl Lock for BareScripts {
    type Held = Held;

    const WAITS: bool = false;

    async fn acquire(&self, name: &str) -> Result<Held, Failure> {
        let held = Held {
            keys: Keys::new(name),
            request: Request::on("arbiter.wake:00000000000000000000000000000000"),
        };
        let call = held.request.acquire(&held.keys);
        let said: String = call.query_async(&mut self.connection.clone()).await?;
        match said.starts_with("granted ") {
            true => Ok(held),
            false => Err(format!("the name is taken: {said}").into()),
        }
    }

    async fn release(&self, held: Held) -> Result<(), Failure> {
        let call = held.request.end(&held.keys);
        let said: String = call.query_async(&mut self.connection.clone()).await?;
        match said.as_str() {
            "released" => Ok(()),
            _ => Err(format!("the name was taken away: {said}").into()),
        }
    }
}
