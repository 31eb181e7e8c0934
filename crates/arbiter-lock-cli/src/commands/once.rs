//! `arbiter once`: a command that runs at most once per period among all machines.

use arbiter_lock::{Begun, Client, NoopLogger, Once, Printable};

use crate::child::{check, find};
use crate::cli::{OnceArgs, StoreArgs};
use crate::commands::supervisor::{self, Held, Interrupts, with_settings};
use crate::commands::waiting::Waits;
use crate::exit::Exit;
use crate::output;
use crate::store;

pub(crate) async fn once(args: &OnceArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    store::check_name(&args.name)?;
    if args.reset {
        return reset(args, store).await;
    }
    let work = &args.work;
    let grace = supervisor::grace(work)?;
    find(work.command.first().map_or("".as_ref(), |command| command))?;
    check()?;
    let mut interrupts = Interrupts::new().map_err(|e| output::refused(&e))?;
    let (news, mut waits) = Waits::new(supervisor::narrator(work));
    let client = store::client(store, news)?;
    let job = with_settings!(job(&client, args), work, grace);
    let liveness = client.liveness_file();
    let outcome = tokio::select! {
        begun = job.begin() => match begun {
            Ok(Begun::Run(run)) => {
                let held = Held::from(run);
                supervisor::supervise(held, work, store, grace, liveness.as_deref(), &mut interrupts).await
            }
            Ok(Begun::Skipped(skip)) => {
                if !work.quiet {
                    output::say(&format!("skipped: {skip}"));
                }
                Exit::Status(args.skip_exit_code).into()
            }
            Err(error) => store::fail(&error).into(),
        },
        () = waits.report(work, store) => unreachable!("it never ends"),
        signal = interrupts.ending() => Exit::DieOf(signal).into(),
    };
    Ok(outcome.leave(&client).await)
}

/// Forgets the last run.
async fn reset(args: &OnceArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let client = store::client(store, NoopLogger)?;
    let job = client.once(&args.name);
    let last = job.last_run().await.map_err(|error| store::fail(&error))?;
    job.reset().await.map_err(|error| store::fail(&error))?;
    if !args.work.quiet {
        let name = Printable(&args.name);
        output::say(&match last {
            Some(_) => format!("the last run of '{name}' is forgotten"),
            None => format!("no run of '{name}' was recorded"),
        });
    }
    Ok(Exit::Status(0))
}

/// Returns the job with the rules of the flags.
fn job(client: &Client, args: &OnceArgs) -> Once {
    let mut job = client
        .once(&args.name)
        .repeat_failed(args.repeat_failed)
        .force(args.force);
    if let Some(period) = args.every {
        job = job.every(period);
    }
    if let Some(zone) = &args.hourly {
        job = job.hourly(zone);
    }
    if let Some(zone) = &args.daily {
        job = job.daily(zone);
    }
    if let Some(pause) = args.at_least {
        job = job.at_least(pause);
    }
    if let Some(limit) = args.wait {
        job = job.wait_timeout(limit);
    }
    job
}
