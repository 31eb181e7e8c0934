//! `arbiter run`: a command under a lock.

mod deadline;
mod interrupts;
mod work;

use std::time::Duration;

use arbiter_lock::{Client, Contended, Error, Event, Guard, Lock, Logger};
use tokio::sync::watch;

use crate::child::find;
use crate::cli::{RunArgs, StoreArgs};
use crate::exit::Exit;
use crate::output::{self, Narrator, typed};
use crate::store;
use interrupts::Interrupts;

/// How long somebody waits before he is told for whom.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to linger to undo what was left, after a release that may have taken [`work::RELEASE`].
const LINGER: Duration = Duration::from_millis(300);

pub(crate) async fn run(args: RunArgs, store: &StoreArgs) -> Exit {
    match try_run(&args, store).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn try_run(args: &RunArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let name = one_name(&args.names)?;
    store::check_name(name)?;
    let grace = grace(args)?;
    find(args.command.first().map_or("".as_ref(), |command| command))?;
    let mut interrupts = Interrupts::new().map_err(|e| output::refused(&e))?;
    let (news, told) = watch::channel(None);
    let client = tokio::select! {
        client = store::connect(store, News { narrator: narrator(args), news }) => client?,
        signal = interrupts.next() => return Err(Exit::DieOf(signal)),
    };
    let lock = lock(&client, name, args, grace);
    let liveness = client.liveness_file();
    let exit = tokio::select! {
        guard = acquire(&lock, args, store, told) => match guard {
            Ok(guard) => work::work(guard, args, grace, liveness.as_deref(), &mut interrupts).await,
            Err(exit) => exit,
        },
        signal = interrupts.next() => Exit::DieOf(signal),
    };
    client.shutdown(LINGER).await;
    Ok(exit)
}

fn one_name(names: &[String]) -> Result<&str, Exit> {
    let first = names.first().map_or("", String::as_str);
    if names.iter().any(|name| name != first) {
        output::say("one lock at a time: name it once, and put the command behind --");
        return Err(Exit::Usage);
    }
    Ok(first)
}

/// From TERM to KILL: what is asked for, or five seconds, or a third of a short lease.
fn grace(args: &RunArgs) -> Result<Duration, Exit> {
    let longest = (args.lease / 2).saturating_sub(margin(args.lease));
    let grace = args
        .grace
        .unwrap_or(Duration::from_secs(5).min(args.lease / 3));
    if longest < grace {
        output::say(&format!(
            "a grace of {} leaves too little of a lease of {}: --grace {} at the most, or a longer --lease",
            typed(grace),
            typed(args.lease),
            typed(longest)
        ));
        return Err(Exit::Usage);
    }
    Ok(grace)
}

/// What the server's clock may run ahead within a lease: as the library has it.
fn margin(lease: Duration) -> Duration {
    (lease / 50).clamp(Duration::from_millis(2), Duration::from_millis(500))
}

fn lock(client: &Client, name: &str, args: &RunArgs, grace: Duration) -> Lock {
    let lock = client
        .lock(name)
        .lease_time(args.lease)
        .lost_margin(grace + margin(args.lease))
        .label(&note(args));
    let lock = match args.max_hold {
        Some(limit) => lock.max_hold(limit),
        None => lock,
    };
    match args.wait {
        _ if args.no_wait => lock.wait_timeout(Duration::ZERO),
        Some(limit) => lock.wait_timeout(limit),
        None => lock.wait_forever(),
    }
}

/// What the holder says of itself: its label, or the command's name.
fn note(args: &RunArgs) -> String {
    if !args.label.is_empty() {
        return args.label.clone();
    }
    let command = args.command.first().map(std::path::Path::new);
    let name = command
        .and_then(|path| path.file_name())
        .unwrap_or_default();
    name.to_string_lossy().chars().take(64).collect()
}

/// Acquires the lock, and tells one who waits for whom.
async fn acquire(
    lock: &Lock,
    args: &RunArgs,
    store: &StoreArgs,
    mut told: watch::Receiver<Option<Contended>>,
) -> Result<Guard, Exit> {
    let acquiring = lock.acquire();
    tokio::pin!(acquiring);
    let acquired = tokio::select! {
        acquired = &mut acquiring => acquired,
        () = tell_after_a_while(&mut told, store), if !args.quiet => unreachable!("it tells for ever"),
    };
    acquired.map_err(|error| match error {
        Error::Contended(contended) => {
            if !args.quiet {
                output::say(&format!("skipped: {}", output::held(&contended, store)));
            }
            Exit::Status(args.conflict_exit_code)
        }
        error => store::fail(&error),
    })
}

/// Tells for whom the waiter waits, and again when another holds.
async fn tell_after_a_while(told: &mut watch::Receiver<Option<Contended>>, store: &StoreArgs) {
    let owner =
        |contended: &Contended| contended.holder.as_ref().map(|holder| holder.owner.clone());
    tokio::time::sleep(PATIENCE).await;
    let mut known = None;
    loop {
        let news = told.borrow_and_update().clone();
        if let Some(contended) = news.filter(|contended| known.as_ref() != Some(&owner(contended)))
        {
            known = Some(owner(&contended));
            output::say(&output::waiting(&contended, store));
        }
        if told.changed().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(PATIENCE).await;
    }
}

fn narrator(args: &RunArgs) -> Narrator {
    match (args.quiet, args.verbose) {
        (true, _) => Narrator::nothing(),
        (_, true) => Narrator::everything(),
        _ => Narrator::left_behind(),
    }
}

/// Keeps the newest word of who stands in the way, and hands events on.
struct News {
    narrator: Narrator,
    news: watch::Sender<Option<Contended>>,
}

impl Logger for News {
    fn log(&self, event: &Event<'_>) {
        if let Event::Waiting(contended) = event {
            self.news.send_replace(Some((*contended).clone()));
        }
        self.narrator.log(event);
    }
}
