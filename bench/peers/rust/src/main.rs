//! The locks of Rust crates for the bench: ../README.md says what is heard and said.

mod measure;
mod peer;
mod worker;

#[cfg(feature = "async-redis-lock")]
mod with_async_redis_lock;
#[cfg(feature = "rlock")]
mod with_rlock;
#[cfg(feature = "rslock")]
mod with_rslock;

use std::time::Duration;

use tokio::runtime::Runtime;

use peer::serve;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const LEASE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [library, url] = &args[..] else {
        return Err("usage: peer rslock|rlock|async-redis-lock REDIS_URL".into());
    };
    let runtime = Runtime::new()?;
    match library.as_str() {
        #[cfg(feature = "rslock")]
        "rslock" => serve(&runtime, library, with_rslock::connect(url)),
        #[cfg(feature = "rlock")]
        "rlock" => serve(&runtime, library, with_rlock::connect(url)),
        #[cfg(feature = "async-redis-lock")]
        "async-redis-lock" => serve(&runtime, library, with_async_redis_lock::connect(url)),
        _ => {
            println!("unable {library} is not built into this program");
            Ok(())
        }
    }
}
