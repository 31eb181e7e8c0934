//! `arbiter status`: who holds a lock, and who waits.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use arbiter_lock::{Holder, Label, Lock, NoopLogger, Status};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Map, Value, json};

use crate::cli::{StatusArgs, StoreArgs};
use crate::exit::Exit;
use crate::output::{self, seconds};
use crate::store;

const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn status(args: StatusArgs, store: &StoreArgs) -> Exit {
    if let Err(exit) = store::check_name(&args.name) {
        return exit;
    }
    let client = match store::connect(store, NoopLogger).await {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let lock = client.lock(&args.name);
    if args.watch {
        return watch(&lock, &args).await;
    }
    match lock.inspect().await {
        Err(error) => store::fail(&error),
        Ok(status) if args.check => {
            if status.is_held() {
                Exit::Contended
            } else {
                Exit::Success
            }
        }
        Ok(status) => match write(&shown(&args, &status)) {
            Ok(()) => Exit::Success,
            Err(error) => unwritten(&error),
        },
    }
}

/// Prints whenever something has changed, until nobody reads or the store ends it.
async fn watch(lock: &Lock, args: &StatusArgs) -> Exit {
    let mut known = None;
    loop {
        let status = match lock.inspect().await {
            Ok(status) => status,
            Err(error) => return store::fail(&error),
        };
        let owner = status
            .holder
            .as_ref()
            .map(|holder| (holder.owner.clone(), holder.fence));
        let seen = Some((owner, status.waiting));
        if known != seen {
            known = seen;
            if let Err(error) = write(&shown(args, &status)) {
                return unwritten(&error);
            }
        }
        tokio::time::sleep(INTERVAL).await;
        if nobody_reads() {
            return Exit::Success;
        }
    }
}

/// Whether stdout is a pipe whose reader has gone: until something changes, no write tells.
fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| 0 < n)
        && fds[0]
            .revents()
            .is_some_and(|e| e.contains(PollFlags::POLLERR))
}

fn write(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

fn unwritten(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Success; // who reads has read enough
    }
    output::say(&format!("cannot write to stdout: {error}"));
    Exit::Os
}

fn shown(args: &StatusArgs, status: &Status) -> String {
    if args.json {
        json_of(&args.name, status).to_string()
    } else {
        text_of(&args.name, status)
    }
}

fn text_of(name: &str, status: &Status) -> String {
    let name = name.escape_debug();
    let mut lines = match &status.holder {
        None => vec![format!("{name}: free")],
        Some(holder) => {
            let fence = holder
                .fence
                .map_or("none".to_owned(), |fence| fence.to_string());
            vec![
                format!("{name}: held by {holder}"),
                format!("  fence {fence}, owner {}", holder.owner.escape_debug()),
            ]
        }
    };
    if 0 < status.waiting {
        lines.push(format!("  waiting: {}", status.waiting));
    }
    for waiter in &status.waiters {
        lines.push(format!(
            "  {:>4}. {}, for {}",
            waiter.place,
            waiter.label,
            seconds(waiter.waited)
        ));
    }
    lines.join("\n")
}

fn json_of(name: &str, status: &Status) -> Value {
    let waiters: Vec<_> = status
        .waiters
        .iter()
        .map(|waiter| {
            let mut object = label_of(&waiter.label);
            object.insert("place".into(), json!(waiter.place));
            object.insert("waited_ms".into(), millis(Some(waiter.waited)));
            Value::Object(object)
        })
        .collect();
    json!({
        "name": name,
        "held": status.is_held(),
        "holder": status.holder.as_ref().map(holder_of),
        "waiting": status.waiting,
        "waiters": waiters,
    })
}

fn holder_of(holder: &Holder) -> Value {
    let mut object = label_of(&holder.label);
    object.insert("owner".into(), json!(holder.owner));
    object.insert("fence".into(), json!(holder.fence));
    object.insert("held_ms".into(), millis(holder.held));
    object.insert("remaining_ms".into(), millis(holder.remaining));
    Value::Object(object)
}

fn label_of(label: &Label) -> Map<String, Value> {
    let fields = [
        ("host", json!(label.host)),
        ("pid", json!(label.pid)),
        ("program", json!(label.program)),
        ("note", json!(label.note)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn millis(time: Option<Duration>) -> Value {
    json!(time.and_then(|time| u64::try_from(time.as_millis()).ok()))
}
