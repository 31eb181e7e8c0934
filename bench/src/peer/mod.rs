//! The participants of this crate: programs that speak the protocol of `peers/README.md`.

mod arbiter;
mod bare;
mod bare_scripts;
mod many;
mod sqlite;

use lines::{Failure, serve, version_in};
use tokio::runtime::{Builder, Runtime};

use bare::Bare;
use bare_scripts::BareScripts;
pub(crate) use many::many;
use sqlite::Sqlite;

/// Executes the lines of the standard input as the participant of that name.
pub(crate) fn peer(library: &str, url: &str) -> Result<(), Failure> {
    let runtime = match library.ends_with("current-thread") {
        true => Builder::new_current_thread().enable_all().build()?,
        false => Runtime::new()?,
    };
    let ours = env!("CARGO_PKG_VERSION");
    let redis = version_in(include_str!("../../../Cargo.lock"), "redis");
    runtime.block_on(async {
        match library {
            "arbiter" | "arbiter-current-thread" => {
                serve(library, ours, arbiter::connect(url).await?).await
            }
            "arbiter-sentinel" => {
                let (sentinel, arbiter) = arbiter::connect_by_sentinel(url).await?;
                let served = serve(library, ours, arbiter).await;
                drop(sentinel);
                served
            }
            "bare" => serve(library, redis, Bare::connect(url).await?).await,
            "bare-scripts" | "bare-scripts-current-thread" => {
                serve(library, redis, BareScripts::connect(url).await?).await
            }
            "sqlite" => serve(library, rusqlite::version(), Sqlite::open(url)?).await,
            _ => Err(format!("there is no participant {library}").into()),
        }
    })
}
