//! The floor: `SET NX` and a compare-and-delete on the same client library, with no fence, no
//! order, no watchdog.

use std::time::Instant;

use redis::aio::MultiplexedConnection;

use crate::Failure;
use crate::measure::Cycle;

const DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

#[derive(Clone)]
pub(crate) struct Bare {
    connection: MultiplexedConnection,
    hash: String,
}

impl Bare {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        let mut connection = redis::Client::open(url)?
            .get_multiplexed_async_connection()
            .await?;
        let hash = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(DELETE)
            .query_async(&mut connection)
            .await?;
        Ok(Self { connection, hash })
    }

    /// Microseconds of a round trip, on the average.
    pub(crate) async fn round_trip(&self, times: u32) -> Result<f64, Failure> {
        let mut connection = self.connection.clone();
        let begun = Instant::now();
        for _ in 0..times {
            let _: String = redis::cmd("PING").query_async(&mut connection).await?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6 / f64::from(times))
    }
}

impl Cycle for Bare {
    async fn cycle(&self, name: &str) -> Result<(), Failure> {
        let mut connection = self.connection.clone();
        let set: Option<String> = redis::cmd("SET")
            .arg(name)
            .arg("me")
            .arg("NX")
            .arg("PX")
            .arg(30_000)
            .query_async(&mut connection)
            .await?;
        let deleted: i64 = redis::cmd("EVALSHA")
            .arg(&self.hash)
            .arg(1)
            .arg(name)
            .arg("me")
            .query_async(&mut connection)
            .await?;
        if set.is_some() && deleted == 1 {
            Ok(())
        } else {
            Err("the floor gives way".into())
        }
    }
}
