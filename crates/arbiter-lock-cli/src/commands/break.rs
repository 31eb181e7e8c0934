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
    let Some(fence) = args.fence else {
        return end_external(&lock, args).await;
    };
    if args.now {
        let ended = lock.break_now(fence).await;
        if !ended.map_err(|error| store::fail(&error))? {
            return not_held(&lock, args).await;
        }
        output::say(
            "ended; its holder is notified at its next renewal, and only the fence stops it until then",
        );
        return Ok(Exit::Success);
    }
    let asked = lock.ask_to_stop(fence).await;
    match asked.map_err(|error| store::fail(&error))? {
        Asked::Notified {
            remaining: Some(remaining),
        } => {
            output::say(&format!(
                "asked the holder to stop: it is notified at its next renewal, and its hold ends within {}",
                Seconds::left(remaining)
            ));
            wait_until_gone(&lock, fence).await
        }
        Asked::Ended => {
            output::say("ended; it was detached, so no process held it");
            Ok(Exit::Success)
        }
        Asked::NotHeld => not_held(&lock, args).await,
        _ => {
            output::say("this hold never expires: --now ends it");
            Ok(Exit::Contended)
        }
    }
}

/// Ends the hold of the external holder that the store shows now, and of no other.
async fn end_external(lock: &Lock, args: &BreakArgs) -> Result<Exit, Exit> {
    let failed = |error| store::fail(&error);
    let holder = lock.inspect().await.map_err(failed)?.holder;
    let owner = holder.filter(|holder| holder.fence.is_none());
    let ended = match owner {
        Some(holder) => lock.break_external(&holder.owner).await.map_err(failed)?,
        None => false,
    };
    if !ended {
        return not_held(lock, args).await;
    }
    output::say("ended; its holder is not notified");
    Ok(Exit::Success)
}

/// Waits until the hold has ended: by its holder, or at its deadline.
async fn wait_until_gone(lock: &Lock, fence: u64) -> Result<Exit, Exit> {
    let mut outage = Outage::default();
    loop {
        // Asking again changes nothing.
        match lock.ask_to_stop(fence).await {
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
            None => format!("the holder has none, and --external ends its hold: {holder}"),
        },
        None => "it is free".to_owned(),
    };
    let name = Printable(&args.name);
    output::say(&match args.fence {
        Some(fence) => format!("'{name}' is not held with fence {fence}; {instead}"),
        None => format!("'{name}' has no external holder; {instead}"),
    });
    Ok(Exit::Contended)
}
