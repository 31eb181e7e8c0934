//! `arbiter break`: ends the hold of another client.

use std::time::Duration;

use arbiter_lock::{Asked, Lock, NoopLogger, Printable, Seconds};

use crate::cli::{BreakArgs, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::store::{self, Outage};

const INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn r#break(args: &BreakArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    store::check_name(&args.name)?;
    let client = store::client(store, NoopLogger)?;
    let lock = client.lock(&args.name);
    if args.now {
        let ended = lock.break_now(args.fence).await;
        if !ended.map_err(|error| store::fail(&error))? {
            return not_held(&lock, args).await;
        }
        output::say(
            "ended; its holder is notified at its next renewal, and only the fence stops it until then",
        );
        return Ok(Exit::Success);
    }
    let asked = lock.ask_to_stop(args.fence).await;
    match asked.map_err(|error| store::fail(&error))? {
        Asked::Notified {
            remaining: Some(remaining),
        } => {
            output::say(&format!(
                "asked the holder to stop: it is notified at its next renewal, and its hold ends in {} at the latest",
                Seconds::left(remaining)
            ));
            wait_until_gone(&lock, args).await
        }
        Asked::NotHeld => not_held(&lock, args).await,
        _ => {
            output::say("this hold never expires: --now ends it");
            Ok(Exit::Contended)
        }
    }
}

/// Waits until the hold has ended: by its holder, or at its deadline.
async fn wait_until_gone(lock: &Lock, args: &BreakArgs) -> Result<Exit, Exit> {
    let mut outage = Outage::default();
    loop {
        // Asking again changes nothing.
        match lock.ask_to_stop(args.fence).await {
            Ok(Asked::NotHeld) => return Ok(Exit::Success),
            Ok(_) => outage.end(),
            Err(error) if outage.may_pass(&error) => {}
            Err(error) => return Err(store::fail(&error)),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn not_held(lock: &Lock, args: &BreakArgs) -> Result<Exit, Exit> {
    let status = lock.inspect().await.map_err(|error| store::fail(&error))?;
    let instead = match &status.holder {
        _ if status.sharing.is_some() => {
            "several share it, each with a fence that arbiter status shows".to_owned()
        }
        Some(holder) => match holder.fence {
            Some(fence) => format!("the holder's is {fence}: {holder}"),
            None => format!("the holder has none: {holder}"),
        },
        None => "it is free".to_owned(),
    };
    output::say(&format!(
        "'{}' is not held with fence {}; {instead}",
        Printable(&args.name),
        args.fence
    ));
    Ok(Exit::Contended)
}
