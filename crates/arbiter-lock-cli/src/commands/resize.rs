//! `arbiter resize`: changes how many permits there are while some are held.

use arbiter_lock::{NoopLogger, Printable};

use crate::cli::{ResizeArgs, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::store;

pub(crate) async fn resize(args: &ResizeArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    store::check_name(&args.name)?;
    let client = store::client(store, NoopLogger)?;
    let semaphore = client.semaphore(&args.name, args.of);
    let before = semaphore.resize(args.of).await;
    let name = Printable(&args.name);
    Ok(match before.map_err(|error| store::fail(&error))? {
        Some(before) => {
            output::say(&format!(
                "'{name}' has {} permits, and had {before}",
                args.of
            ));
            Exit::Success
        }
        None => {
            output::say(&format!(
                "no permits of '{name}' are held: the next holder sets how many there are"
            ));
            Exit::Contended
        }
    })
}
