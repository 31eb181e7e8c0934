//! `arbiter store init`: prepares a store before its first use.

use std::time::Duration;

use arbiter_lock::NoopLogger;

use crate::cli::{InitArgs, StoreArgs};
use crate::exit::Exit;
use crate::stdout::line;
use crate::store;

/// A lease, for checks that do not matter here.
const LEASE: Duration = Duration::from_secs(30);

/// Makes the tables of a store, or prints the SQL that does.
pub(crate) async fn init(args: &InitArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    if args.print {
        let sql = arbiter_lock::postgres_schema(&args.schema, args.role.as_deref());
        line(&sql.trim_end())?;
        return Ok(Exit::Success);
    }
    let client = store::client(store, NoopLogger)?;
    // A server or a folder is prepared by its first use, and this is one.
    match client.diagnose(LEASE).await {
        Ok(_) => Ok(Exit::Success),
        Err(error) => Err(store::fail(&error)),
    }
}
