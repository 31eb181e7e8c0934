//! `arbiter status`: shows the holder of a lock and its waiters.

use std::time::Duration;

use arbiter_lock::{
    Client, Error, Holder, Label, LastRun, NoopLogger, Printable, RunState, Seconds, Sharer,
    Sharing, Status,
};
use serde_json::{Map, Value, json};

use super::r#break::ShownHold;
use crate::cli::{StatusArgs, StoreArgs};
use crate::exit::Exit;
use crate::stdout::{is_reader_gone, json_line, lines};
use crate::store::{self, Outage};

const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn status(args: &StatusArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    for name in &args.names {
        store::check_name(name)?;
    }
    let client = store::client(store, NoopLogger)?;
    if args.watch {
        return watch(&client, args).await;
    }
    let mut exit = Exit::Success;
    for name in &args.names {
        let seen = if args.check {
            client
                .lock(name)
                .inspect()
                .await
                .map(|status| (status, None))
        } else {
            inspect(&client, name).await
        };
        let (status, last) = seen.map_err(|error| store::fail(&error))?;
        if args.check {
            exit = if status.is_held() {
                Exit::Contended
            } else {
                exit
            };
        } else {
            print(args, name, &status, last.as_ref())?;
        }
    }
    Ok(exit)
}

/// Returns the status of a lock, and the last run of the job of that name.
pub(super) async fn inspect(
    client: &Client,
    name: &str,
) -> Result<(Status, Option<LastRun>), Error> {
    let status = client.lock(name).inspect().await?;
    Ok((status, client.once(name).last_run().await?))
}

/// Prints each status whenever it has changed, until stdout is closed or the store fails.
async fn watch(client: &Client, args: &StatusArgs) -> Result<Exit, Exit> {
    let mut known: Vec<_> = args.names.iter().map(|_| None).collect();
    let mut outage = Outage::default();
    loop {
        for (name, known) in args.names.iter().zip(&mut known) {
            match inspect(client, name).await {
                Ok((status, last)) => {
                    outage.end();
                    let seen = Some(of_note(&status, last.as_ref()));
                    if *known != seen {
                        *known = seen;
                        print(args, name, &status, last.as_ref())?;
                    }
                }
                // A watch that has begun outlasts a restart of the server.
                Err(error) if known.is_some() && outage.may_pass(&error) => {}
                Err(error) => return Err(store::fail(&error)),
            }
        }
        tokio::time::sleep(INTERVAL).await;
        if is_reader_gone() {
            return Ok(Exit::Success);
        }
    }
}

/// Returns the parts of a status whose change is printed: all but the times.
fn of_note(status: &Status, last: Option<&LastRun>) -> impl PartialEq + use<> {
    let holds = |holder: &Holder| (holder.owner.clone(), holder.fence);
    let sharers = status.sharing.as_ref().map(|sharing| {
        let holders = sharing.holders.iter().map(|s| holds(&s.holder));
        let mut holders: Vec<_> = holders.collect();
        holders.sort(); // they are ordered by the rest of their leases
        (sharing.limit, sharing.count, holders)
    });
    (
        status.holder.as_ref().map(holds),
        status.value.clone(),
        sharers,
        status.waiting,
        last.map(|last| (last.fence, std::mem::discriminant(&last.state))),
    )
}

/// Prints the status to stdout. Returns how the command ends if that fails.
fn print(
    args: &StatusArgs,
    name: &str,
    status: &Status,
    last: Option<&LastRun>,
) -> Result<(), Exit> {
    match args.json {
        true => json_line(&json_of(name, status, last)),
        false => {
            let shown = shown_lines(name, status, last);
            let texts: Vec<_> = shown.into_iter().map(|line| line.text).collect();
            lines(&texts.join("\n"))
        }
    }
}

/// A line of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub(super) text: String,
    /// The hold that it shows.
    pub(super) hold: Option<ShownHold>,
}

impl From<String> for StatusLine {
    fn from(text: String) -> Self {
        Self { text, hold: None }
    }
}

/// Returns the status as text.
pub(super) fn shown_lines(name: &str, status: &Status, last: Option<&LastRun>) -> Vec<StatusLine> {
    let name = Printable(name);
    let mut lines = match (&status.sharing, &status.holder) {
        (Some(sharing), _) => shared(&name.to_string(), sharing),
        (None, None) => vec![format!("{name}: free").into()],
        (None, Some(holder)) => {
            let fence = holder
                .fence
                .map_or("none".to_owned(), |fence| fence.to_string());
            let texts = [
                format!("{name}: held by {holder}"),
                format!("  fence {fence}, owner {}", Printable(&holder.owner)),
            ];
            let hold = Some(ShownHold::of(holder));
            let lines = texts.map(|text| StatusLine {
                text,
                hold: hold.clone(),
            });
            lines.to_vec()
        }
    };
    if let Some(value) = &status.value {
        lines.push(format!("  announces: {}", Printable(value)).into());
    }
    if let Some(last) = last {
        lines.push(format!("  last run: {last}").into());
    }
    if 0 < status.waiting {
        lines.push(format!("  waiting: {}", status.waiting).into());
    }
    for waiter in &status.waiters {
        let (place, label) = (waiter.place, &waiter.label);
        let waited = Seconds(waiter.waited);
        lines.push(format!("  {place:>4}. {label}, for {waited}").into());
    }
    lines
}

fn shared(name: &str, sharing: &Sharing) -> Vec<StatusLine> {
    let how = match sharing.limit {
        Some(limit) => format!("{} of {limit} permits", sharing.weight),
        None => "with no limit".to_owned(),
    };
    let mut lines = vec![format!("{name}: shared by {}, {how}", sharing.count).into()];
    let mut holders: Vec<&Sharer> = sharing.holders.iter().collect();
    holders.sort_by_key(|sharer| std::cmp::Reverse(sharer.holder.held));
    lines.extend(holders.into_iter().map(|Sharer { holder, weight, .. }| {
        let permits = sharing
            .limit
            .map_or(String::new(), |_| format!(" holds {weight},"));
        let fence = holder.fence.unwrap_or_default();
        StatusLine {
            text: format!("   {permits} fence {fence}: {holder}"),
            hold: Some(ShownHold::of(holder)),
        }
    }));
    lines
}

pub(super) fn json_of(name: &str, status: &Status, last: Option<&LastRun>) -> Value {
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
        "holder": status.holder.as_ref().map(|holder| Value::Object(holder_of(holder))),
        "value": status.value,
        "sharing": status.sharing.as_ref().map(sharing_of),
        "last_run": last.map(run_of),
        "waiting": status.waiting,
        "waiters": waiters,
    })
}

fn holder_of(holder: &Holder) -> Map<String, Value> {
    let mut object = label_of(&holder.label);
    object.insert("owner".into(), json!(holder.owner));
    object.insert("fence".into(), json!(holder.fence));
    object.insert("detached".into(), json!(holder.is_detached()));
    object.insert("held_ms".into(), millis(holder.held));
    object.insert("remaining_ms".into(), millis(holder.remaining));
    object
}

fn sharing_of(sharing: &Sharing) -> Value {
    let holders = sharing.holders.iter().map(|sharer| {
        let mut object = holder_of(&sharer.holder);
        object.insert("permits".into(), json!(sharer.weight));
        Value::Object(object)
    });
    json!({
        "limit": sharing.limit,
        "permits": sharing.weight,
        "count": sharing.count,
        "holders": holders.collect::<Vec<_>>(),
    })
}

fn run_of(last: &LastRun) -> Value {
    let (state, ago, text) = match &last.state {
        RunState::Running => ("running", None, None),
        RunState::EndedWell { ago, note } => ("ended-well", Some(*ago), Some(note)),
        RunState::Failed { ago, why } => ("failed", Some(*ago), Some(why)),
        RunState::Crashed => ("crashed", None, None),
        _ => ("unknown", None, None),
    };
    let mut object = label_of(&last.label);
    object.insert("fence".into(), json!(last.fence));
    object.insert("started_ms".into(), millis(Some(last.started)));
    object.insert("state".into(), json!(state));
    object.insert("ended_ms".into(), millis(ago));
    object.insert("outcome".into(), json!(text));
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
