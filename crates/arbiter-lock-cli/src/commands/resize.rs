//! `arbiter resize`: changes how many permits there are while some are held.

use arbiter_lock::NoopLogger;

use crate::cli::{ResizeArgs, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::store;

pub(crate) async fn resize(args: ResizeArgs, store: &StoreArgs) -> Exit {
    if let Err(exit) = store::check_name(&args.name) {
        return exit;
    }
    let client = match store::client(store, NoopLogger) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let semaphore = client.semaphore(&args.name, args.of);
    match semaphore.resize(args.of).await {
        Ok(Some(before)) => {
            output::say(&format!(
                "'{}' has {} permits, and had {before}",
                args.name.escape_debug(),
                args.of
            ));
            Exit::Success
        }
        Ok(None) => {
            output::say(&format!(
                "no permits of '{}' are held: the next to come says how many there are",
                args.name.escape_debug()
            ));
            Exit::Contended
        }
        Err(error) => store::fail(&error),
    }
}
