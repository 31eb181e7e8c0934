//! `arbiter break`: ends the hold of another client.

use std::fmt;
use std::time::Duration;

use arbiter_lock::{Asked, Error, Holder, Lock, NoopLogger, Printable, Seconds};

use super::row::described;
use crate::cli::{BreakArgs, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::store::{self, Outage};

const INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn r#break(args: &BreakArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    store::check_name(&args.name)?;
    let client = store::client(store, NoopLogger)?;
    let lock = client.lock(&args.name);
    let failed = |error| store::fail(&error);
    let hold = match args.fence {
        Some(fence) => Some(BreakableHold::Fence(fence)),
        // The external holder that the store shows now, and no other.
        None => lock.inspect().await.map_err(failed)?.holder.and_then(|h| {
            let is_external = h.fence.is_none();
            is_external.then_some(BreakableHold::External { owner: h.owner })
        }),
    };
    let manner = if args.now { Manner::Now } else { Manner::Ask };
    let end = match &hold {
        Some(hold) => end(&lock, hold, manner).await.map_err(failed)?,
        None => EndOfHold::NotHeld,
    };
    match (&end, hold) {
        (EndOfHold::NotHeld, hold) => {
            let name = Printable(&args.name);
            output::say(
                &not_held(&lock, &name, hold.as_ref())
                    .await
                    .map_err(failed)?,
            );
            Ok(Exit::Contended)
        }
        (EndOfHold::Endless, _) => {
            output::say(&format!("{end}: --now ends it"));
            Ok(Exit::Contended)
        }
        (EndOfHold::Asked { .. }, Some(BreakableHold::Fence(fence))) => {
            output::say(&end.to_string());
            wait_until_gone(&lock, fence).await
        }
        _ => {
            output::say(&end.to_string());
            Ok(Exit::Success)
        }
    }
}

/// The identity of a hold to break, so that no later hold is broken in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BreakableHold {
    /// The hold with this fence.
    Fence(u64),
    /// The hold of an external holder, which has no fence.
    External { owner: String },
}

/// A hold, and its holder for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShownHold {
    pub(super) hold: BreakableHold,
    pub(super) holder: String,
}

impl ShownHold {
    /// Returns the hold of one holder: of a shared lock, that of a sharer.
    pub(super) fn of(holder: &Holder) -> Self {
        let owner = || holder.owner.clone();
        Self {
            hold: match holder.fence {
                Some(fence) => BreakableHold::Fence(fence),
                None => BreakableHold::External { owner: owner() },
            },
            holder: described(holder),
        }
    }
}

/// When a holder with a fence loses its hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// When it has stopped, or its lease has expired.
    Ask,
    /// At once.
    Now,
}

/// The outcome of a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EndOfHold {
    /// It ends when its holder has stopped, or after that time.
    Asked { remaining: Duration },
    /// Its holder will not renew it, but it has no expiry.
    Endless,
    /// It has ended, and its holder is notified at its next renewal.
    Ended,
    /// It has ended, and its external holder is not notified.
    EndedExternal,
    /// It was detached, and has ended.
    EndedDetached,
    /// There is no such hold any more.
    NotHeld,
}

impl fmt::Display for EndOfHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { remaining } => write!(
                f,
                "asked the holder to stop: it is notified at its next renewal, and its hold ends within {}",
                Seconds::left(*remaining)
            ),
            Self::Endless => f.write_str("this hold never expires"),
            Self::Ended => f.write_str(
                "ended; its holder is notified at its next renewal, and only the fence stops it until then",
            ),
            Self::EndedExternal => f.write_str("ended; its holder is not notified"),
            Self::EndedDetached => f.write_str("ended; it was detached, so no process held it"),
            Self::NotHeld => f.write_str("not held"),
        }
    }
}

/// Ends that hold, or asks its holder to stop. No other hold is ended.
pub(super) async fn end(
    lock: &Lock,
    hold: &BreakableHold,
    manner: Manner,
) -> Result<EndOfHold, Error> {
    let ended = |is_ended, end| if is_ended { end } else { EndOfHold::NotHeld };
    Ok(match (hold, manner) {
        (BreakableHold::External { owner }, _) => {
            ended(lock.break_external(owner).await?, EndOfHold::EndedExternal)
        }
        (BreakableHold::Fence(fence), Manner::Now) => {
            ended(lock.break_now(*fence).await?, EndOfHold::Ended)
        }
        (BreakableHold::Fence(fence), Manner::Ask) => match lock.ask_to_stop(*fence).await? {
            Asked::Notified {
                remaining: Some(remaining),
            } => EndOfHold::Asked { remaining },
            Asked::Ended => EndOfHold::EndedDetached,
            Asked::NotHeld => EndOfHold::NotHeld,
            _ => EndOfHold::Endless,
        },
    })
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

/// Returns the message for a hold that is not there: it names the holder that is.
pub(super) async fn not_held(
    lock: &Lock,
    name: &Printable<'_>,
    hold: Option<&BreakableHold>,
) -> Result<String, Error> {
    let status = lock.inspect().await?;
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
    Ok(match hold {
        Some(BreakableHold::Fence(fence)) => {
            format!("'{name}' is not held with fence {fence}; {instead}")
        }
        Some(BreakableHold::External { .. }) | None => {
            format!("'{name}' has no external holder; {instead}")
        }
    })
}
