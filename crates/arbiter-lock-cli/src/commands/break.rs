//! `arbiter break`: ends the hold of another client.

use std::time::Duration;

use arbiter_lock::{Asked, Lock, NoopLogger, Seconds};

use crate::cli::{BreakArgs, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::store::{self, Outage};

const INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn r#break(args: BreakArgs, store: &StoreArgs) -> Exit {
    if let Err(exit) = store::check_name(&args.name) {
        return exit;
    }
    let client = match store::client(store, NoopLogger) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let lock = client.lock(&args.name);
    if args.now {
        return match lock.break_now(args.fence).await {
            Ok(true) => {
                output::say(
                    "ended; its holder is notified at its next renewal, and only the fence stops it until then",
                );
                Exit::Success
            }
            Ok(false) => not_held(&lock, &args).await,
            Err(error) => store::fail(&error),
        };
    }
    match lock.ask_to_stop(args.fence).await {
        Ok(Asked::Told {
            remaining: Some(remaining),
        }) => {
            output::say(&format!(
                "asked the holder to stop: it is notified at its next renewal, and its hold ends in {} at the latest",
                Seconds(remaining)
            ));
            wait_until_gone(&lock, &args).await
        }
        Ok(Asked::NotHeld) => not_held(&lock, &args).await,
        Ok(_) => {
            output::say("this hold never expires: --now ends it");
            Exit::Contended
        }
        Err(error) => store::fail(&error),
    }
}

/// Waits until the hold has ended: by its holder, or at its deadline.
async fn wait_until_gone(lock: &Lock, args: &BreakArgs) -> Exit {
    let mut outage = Outage::default();
    loop {
        // Asking again changes nothing.
        match lock.ask_to_stop(args.fence).await {
            Ok(Asked::NotHeld) => return Exit::Success,
            Ok(_) => outage.end(),
            Err(error) if outage.may_pass(&error) => {}
            Err(error) => return store::fail(&error),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn not_held(lock: &Lock, args: &BreakArgs) -> Exit {
    let instead = match lock.inspect().await {
        Ok(status) if status.sharing.is_some() => {
            "several share it, each with a fence that arbiter status shows".to_owned()
        }
        Ok(status) => match &status.holder {
            Some(holder) => match holder.fence {
                Some(fence) => format!("the holder's is {fence}: {holder}"),
                None => format!("the holder has none: {holder}"),
            },
            None => "it is free".to_owned(),
        },
        Err(error) => return store::fail(&error),
    };
    output::say(&format!(
        "'{}' is not held with fence {}; {instead}",
        args.name.escape_debug(),
        args.fence
    ));
    Exit::Contended
}
