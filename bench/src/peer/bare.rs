//! The minimal cost of a lock without a fence, an order or a watchdog: `SET NX` and a
//! compare-and-delete on one multiplexed connection.

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use crate::scripts::{COMPARE_AND_DELETE, Script, fresh_id};
use lines::{Failure, Lock};

#[derive(Clone)]
pub(super) struct Bare {
    connection: MultiplexedConnection,
    delete: &'static Script,
}

pub(super) struct Held {
    name: String,
    id: String,
}

/// Connects without a time limit of the library's own, which would cost a timer per command.
pub(super) async fn multiplexed(url: &str) -> Result<MultiplexedConnection, Failure> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url)?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

impl Bare {
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let mut connection = multiplexed(url).await?;
        let delete = &*COMPARE_AND_DELETE;
        let _: String = delete.load().query_async(&mut connection).await?;
        Ok(Self { connection, delete })
    }
}

impl Lock for Bare {
    type Held = Held;

    const WAITS: bool = false;

    async fn acquire(&self, name: &str) -> Result<Held, Failure> {
        let held = Held {
            name: name.to_owned(),
            id: fresh_id(),
        };
        let set: Option<String> = redis::cmd("SET")
            .arg(name)
            .arg(&held.id)
            .arg("NX")
            .arg("PX")
            .arg(30_000)
            .query_async(&mut self.connection.clone())
            .await?;
        set.ok_or("the name is taken")?;
        Ok(held)
    }

    async fn release(&self, held: Held) -> Result<(), Failure> {
        let call = self.delete.call(&[held.name.as_str()], &[&held.id]);
        let deleted: i64 = call.query_async(&mut self.connection.clone()).await?;
        match deleted {
            1 => Ok(()),
            _ => Err("the name was taken away".into()),
        }
    }
}
