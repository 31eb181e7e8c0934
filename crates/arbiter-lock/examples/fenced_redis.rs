//! A value on a Redis server that refuses writes with an older fence.
//!
//! Run it with `cargo run -p arbiter-lock --example fenced_redis`. It uses the server that
//! `ARBITER_STORE` names, or `redis://127.0.0.1:6379`. The value and its fence are in one hash, and
//! are compared and written in one script.

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
    let mut call = script.key("example:value");
    call.arg(fence).arg(value).invoke_async(server).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("ARBITER_STORE").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let mut server = redis::Client::open(url.as_str())?
        .get_multiplexed_async_connection()
        .await?;
    let lock = Client::connect(&url).await?.lock("example:report");

    let paused = lock.acquire().await?.fence(); // dropped: as if its lease had run out
    let guard = lock.acquire().await?;
    let written = write(&mut server, guard.fence(), "draft").await?;
    println!("the holder, fence {}, writes: {written}", guard.fence());
    let written = write(&mut server, guard.fence(), "final").await?;
    println!("it writes again: {written}");
    let written = write(&mut server, paused, "late").await?;
    println!("the paused one, fence {paused}, writes: {written}");
    guard.release().await?;
    let value: String = redis::cmd("HGET")
        .arg("example:value")
        .arg("value")
        .query_async(&mut server)
        .await?;
    println!("the server has: {value}");
    let _: () = redis::cmd("DEL")
        .arg("example:value")
        .query_async(&mut server)
        .await?;
    Ok(())
}
