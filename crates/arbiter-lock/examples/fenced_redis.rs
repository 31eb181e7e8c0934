//! A value on a Redis server that refuses writes with an older fence.
//!
//! Usage: `fenced_redis redis://127.0.0.1:6379`. The value and its fence are fields of one hash.
//! One script compares and writes them.

use std::error::Error;

use arbiter_lock::Client;
use redis::Script;
use redis::aio::MultiplexedConnection;

/// `KEYS[1]`: the hash. `ARGV`: the fence, the value. Returns whether it was written. A fence is
/// below 2^53: a Lua number holds it.
const WRITE: &str = "\
local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if tonumber(ARGV[1]) < last then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2]) return 1";

async fn write(
    server: &mut MultiplexedConnection,
    fence: u64,
    value: &str,
) -> redis::RedisResult<bool> {
    let script = Script::new(WRITE);
    let mut call = script.key("report");
    call.arg(fence).arg(value).invoke_async(server).await
}

pub(crate) async fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let mut server = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let lock = Client::connect(url).await?.lock("report-lock");

    let paused = lock.acquire().await?.fence(); // dropped: as if its lease had run out
    let guard = lock.acquire().await?;
    assert!(write(&mut server, guard.fence(), "draft").await?);
    assert!(write(&mut server, guard.fence(), "final").await?);
    assert!(!write(&mut server, paused, "late").await?, "it is older");
    guard.release().await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("the URL of a server")?;
    run(&url).await
}
