//! `arbiter run`: runs a command under a lock, several locks, permits, or as a leader.

use std::collections::BTreeSet;
use std::time::Duration;

use arbiter_lock::{Client, Error, LostReason, Printable, Token};

use crate::child::{check, find};
use crate::cli::{RunArgs, StoreArgs};
use crate::commands::mode::acquire_in_mode;
use crate::commands::supervisor::{self, Held, Interrupts, with_settings};
use crate::commands::token_file;
use crate::commands::waiting::Waits;
use crate::exit::Exit;
use crate::output;
use crate::store;

pub(crate) async fn run(args: &RunArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let names: BTreeSet<&str> = args.names.iter().map(String::as_str).collect();
    check_names(&names, args)?;
    let work = &args.work;
    let grace = supervisor::grace(work)?;
    find(work.command.first().map_or("".as_ref(), |command| command))?;
    check()?;
    let mut interrupts = Interrupts::new().map_err(|e| output::refused(&e))?;
    let (news, waits) = Waits::new(supervisor::narrator(work));
    let client = store::client(store, news)?;
    let liveness = client.liveness_file();
    let outcome = tokio::select! {
        held = acquire(&client, &names, args, grace, store, waits) => match held {
            Ok(held) => supervisor::supervise(held, work, store, grace, liveness.as_deref(), &mut interrupts).await,
            Err(exit) => exit.into(),
        },
        signal = interrupts.ending() => Exit::DieOf(signal).into(),
    };
    Ok(outcome.leave(&client).await)
}

fn check_names(names: &BTreeSet<&str>, args: &RunArgs) -> Result<(), Exit> {
    names.iter().try_for_each(|name| store::check_name(name))?;
    let is_alone = !args.mode.shared && args.mode.permits.is_none() && args.announce.is_none();
    if names.len() == 1 || is_alone && args.token_file.is_none() {
        return Ok(());
    }
    output::say("--shared, --permits, --announce and --token-file are for one name");
    Err(Exit::Usage)
}

/// Acquires the primitive that the flags ask for.
async fn held(
    client: &Client,
    names: &BTreeSet<&str>,
    args: &RunArgs,
    token: Option<&Token>,
    grace: Duration,
) -> Result<Held, Error> {
    macro_rules! with_options {
        ($primitive:expr) => {{
            let primitive = with_settings!($primitive, &args.work, grace);
            match args.wait {
                _ if args.no_wait => primitive.wait_timeout(Duration::ZERO),
                Some(limit) => primitive.wait_timeout(limit),
                None => primitive.wait_forever(),
            }
        }};
    }
    let name = names.first().copied().unwrap_or_default();
    if let Some(token) = token {
        let lock = with_options!(client.lock(name));
        lock.adopt(token).await.map(Held::from)
    } else if 1 < names.len() {
        let all = with_options!(client.lock_all(names));
        all.acquire().await.map(Held::from)
    } else if let Some(value) = &args.announce {
        let election = with_options!(client.election(name));
        election.campaign(value).await.map(Held::from)
    } else {
        acquire_in_mode!(args.mode, client, name, with_options).map(Held::from)
    }
}

/// Acquires the primitive that the flags ask for, and reports the holder while it waits.
async fn acquire(
    client: &Client,
    names: &BTreeSet<&str>,
    args: &RunArgs,
    grace: Duration,
    store: &StoreArgs,
    mut waits: Waits,
) -> Result<Held, Exit> {
    let token = args.token_file.as_deref().map(token_file::read);
    let token = token.transpose()?;
    let acquiring = held(client, names, args, token.as_ref(), grace);
    tokio::pin!(acquiring);
    let acquired = tokio::select! {
        acquired = &mut acquiring => acquired,
        () = waits.report(&args.work, store) => unreachable!("it never ends"),
    };
    acquired.map_err(|error| match error {
        Error::Contended(contended) => {
            if !args.work.quiet {
                output::say(&format!("skipped: {}", output::held(&contended, store)));
            }
            Exit::Status(args.mode.conflict_exit_code)
        }
        Error::Lost(loss) if loss.reason == LostReason::TokenUsed => {
            if !args.work.quiet {
                let name = Printable(&loss.name);
                output::say(&format!("skipped: '{name}' is not held: {}", loss.reason));
            }
            Exit::Status(args.mode.conflict_exit_code)
        }
        error => store::fail(&error),
    })
}
