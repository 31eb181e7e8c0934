//! The locks of Rust crates for the bench: ../README.md describes the protocol.

#[cfg(feature = "async-redis-lock")]
mod with_async_redis_lock;
#[cfg(feature = "rlock")]
mod with_rlock;
#[cfg(feature = "rslock")]
mod with_rslock;

use std::time::Duration;

use lines::{Failure, serve, version_in};
use tokio::runtime::Runtime;

const LEASE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [library, url] = &args[..] else {
        return Err("usage: peer rslock|rlock|async-redis-lock REDIS_URL".into());
    };
    let version = version_in(include_str!("../Cargo.lock"), library);
    Runtime::new()?.block_on(async {
        match library.as_str() {
            #[cfg(feature = "rslock")]
            "rslock" => serve(library, version, with_rslock::connect(url).await?).await,
            #[cfg(feature = "rlock")]
            "rlock" => serve(library, version, with_rlock::connect(url).await?).await,
            #[cfg(feature = "async-redis-lock")]
            "async-redis-lock" => {
                serve(library, version, with_async_redis_lock::connect(url).await?).await
            }
            _ => {
                println!("unable {library} is not built into this program");
                Ok(())
            }
        }
    })
}
