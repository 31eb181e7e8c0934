//! `arbiter hold`: holds a lock without a process.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, NoopLogger, Printable, Seconds};

use super::mode::acquire_in_mode;
use super::token_file::TokenFile;
use crate::cli::{HoldArgs, StoreArgs};
use crate::commands::supervisor::Interrupts;
use crate::exit::Exit;
use crate::output;
use crate::shell::quoted;
use crate::store;

/// How long to wait for what an interrupted acquire leaves to do.
const LINGER: Duration = Duration::from_millis(300);

pub(crate) async fn hold(args: &HoldArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    store::check_name(&args.name)?;
    let file = args
        .token_file
        .as_deref()
        .map(TokenFile::open)
        .transpose()?;
    let client = store::client(store, NoopLogger)?;
    let mut interrupts = Interrupts::new().map_err(|e| output::refused(&e))?;
    let held = tokio::select! {
        held = detach(&client, args, store, file) => held,
        signal = interrupts.ending() => Err(Exit::DieOf(signal)),
    };
    client.shutdown(LINGER).await;
    held.map(|()| Exit::Success)
}

async fn acquire(client: &Client, args: &HoldArgs) -> Result<Guard, Error> {
    macro_rules! with_options {
        ($primitive:expr) => {
            $primitive
                .wait_timeout(args.wait.unwrap_or_default())
                .replicas(args.acknowledgement.replicas)
                .durable(args.acknowledgement.durable)
                .label(&args.reason)
        };
    }
    acquire_in_mode!(args.mode, client, &args.name, with_options)
}

/// Acquires the lock under an ordinary lease, and detaches it for the time.
async fn detach(
    client: &Client,
    args: &HoldArgs,
    store: &StoreArgs,
    file: Option<TokenFile>,
) -> Result<(), Exit> {
    let guard = acquire(client, args).await.map_err(|error| match error {
        Error::Contended(contended) => {
            if !args.quiet {
                output::say(&format!("not held: {}", output::held(&contended, store)));
            }
            Exit::Status(args.mode.conflict_exit_code)
        }
        error => store::fail(&error),
    })?;
    let token = guard.into_token_for(args.time).await;
    let token = token.map_err(|error| store::fail(&error))?;
    if let Some(Err(error)) = file.map(|file| file.write(&token)) {
        let _ = client.lock(&args.name).break_now(token.fence()).await;
        return Err(output::refused(&error));
    }
    if !args.quiet {
        output::say(&format!(
            "holds '{}' for {}; to end it: arbiter break{} {} --fence {}",
            Printable(&args.name),
            Seconds(args.time),
            store.again(),
            quoted(&args.name),
            token.fence()
        ));
    }
    Ok(())
}
