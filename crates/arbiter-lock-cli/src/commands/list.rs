//! `arbiter list`: lists the locks that are held or waited for.

use std::cmp::Reverse;
use std::time::Duration;

use arbiter_lock::{Holder, Listed, NoopLogger, Printable, Seconds, Status};

use super::kind::Kind;
use super::status::json_of;
use crate::cli::{ListArgs, SortKey, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::shell::quoted;
use crate::stdout::{json_line, lines};
use crate::store;

/// Lists the locks, page by page unless they are sorted.
pub(crate) async fn list(args: &ListArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let client = store::client(store, NoopLogger)?;
    let mut locks = client.list(&args.pattern);
    let mut sorted = Vec::new();
    let mut printer = Printer::new(args.json);
    while let Some(lock) = locks.next().await.map_err(|error| store::fail(&error))? {
        if !is_wanted(args, &lock.status) {
            report_unseen(args, &lock);
            continue;
        }
        match args.sort {
            Some(_) => sorted.push(lock),
            None => printer.print(&lock)?,
        }
    }
    if let Some(key) = args.sort {
        sort(&mut sorted, key);
    }
    sorted.iter().try_for_each(|lock| printer.print(lock))?;
    printer.end()?;
    Ok(Exit::Success)
}

fn is_wanted(args: &ListArgs, status: &Status) -> bool {
    let is_host = |holder: &Holder| holder.label.host == args.held_by;
    let sharers = status.sharing.iter().flat_map(|sharing| &sharing.holders);
    let mut holders = status.holder.iter().chain(sharers.map(|s| &s.holder));
    let is_held_by = args.held_by.is_none() || holders.any(is_host);
    is_held_by && (!args.waited || 0 < status.waiting)
}

/// Reports a lock with more holders than the store returns, any of which may be of that host.
fn report_unseen(args: &ListArgs, lock: &Listed) {
    let (Some(host), Some(sharing)) = (&args.held_by, &lock.status.sharing) else {
        return;
    };
    let (seen, count) = (sharing.holders.len(), sharing.count);
    if u64::try_from(seen).is_ok_and(|seen| seen < count) {
        output::say(&format!(
            "{} may be held by {}: only {seen} of its {count} holders are seen",
            quoted(&lock.name),
            quoted(host)
        ));
    }
}

fn sort(locks: &mut [Listed], key: SortKey) {
    let holder = |lock: &Listed| lock.status.holder.clone();
    match key {
        SortKey::Name => locks.sort_by(|a, b| a.name.cmp(&b.name)),
        SortKey::Held => {
            locks.sort_by_key(|lock| Reverse(holder(lock).and_then(|holder| holder.held)));
        }
        SortKey::Remaining => {
            let remaining = |lock: &Listed| holder(lock).and_then(|holder| holder.remaining);
            locks.sort_by_key(|lock| remaining(lock).unwrap_or(Duration::MAX));
        }
        SortKey::Waiting => locks.sort_by_key(|lock| Reverse(lock.status.waiting)),
    }
}

/// Prints a table with a heading, or one JSON object per line.
struct Printer {
    json: bool,
    has_heading: bool,
}

impl Printer {
    fn new(json: bool) -> Self {
        Self {
            json,
            has_heading: false,
        }
    }

    fn print(&mut self, lock: &Listed) -> Result<(), Exit> {
        if self.json {
            let mut object = json_of(&lock.name, &lock.status, None);
            if let Some(fields) = object.as_object_mut() {
                fields.remove("last_run");
                fields.insert("kind".into(), kind(&lock.status).into());
            }
            return json_line(&object);
        }
        self.heading()?;
        let status = &lock.status;
        let shown = |time: Option<Seconds>| time.map_or("-".to_owned(), |time| time.to_string());
        let holder = status.holder.as_ref();
        let held_by = match (&status.sharing, holder) {
            (Some(sharing), _) if 1 < sharing.count => format!("{} holders", sharing.count),
            (_, Some(holder)) if holder.label.program.is_none() => {
                format!("owner {}", holder.owner)
            }
            (_, Some(holder)) if holder.is_detached() => format!("detached by {}", holder.label),
            (_, Some(holder)) => holder.label.to_string(),
            (_, None) => "-".to_owned(),
        };
        lines(&row(
            &Printable(&lock.name).to_string(),
            &kind(status),
            &shown(holder.and_then(|holder| holder.held).map(Seconds)),
            &shown(
                holder
                    .and_then(|holder| holder.remaining)
                    .map(Seconds::left),
            ),
            &status.waiting.to_string(),
            &Printable(&held_by).to_string(),
        ))
    }

    fn heading(&mut self) -> Result<(), Exit> {
        if self.json || std::mem::replace(&mut self.has_heading, true) {
            return Ok(());
        }
        lines(&row(
            "NAME",
            "KIND",
            "HELD",
            "REMAINING",
            "WAITING",
            "HOLDER",
        ))
    }

    /// Prints at least the heading.
    fn end(&mut self) -> Result<(), Exit> {
        self.heading()
    }
}

fn row(name: &str, kind: &str, held: &str, remaining: &str, waiting: &str, holder: &str) -> String {
    format!("{name:<32} {kind:<14} {held:>8} {remaining:>9} {waiting:>7}  {holder}")
}

/// Returns how the lock is held, as the list shows it.
fn kind(status: &Status) -> String {
    let sharing = status.sharing.as_ref();
    match (Kind::of(status), sharing.and_then(|sharing| sharing.limit)) {
        (Some(Kind::Permits), Some(limit)) => {
            let weight = sharing.map_or(0, |sharing| sharing.weight);
            format!("{weight}/{limit} permits")
        }
        (Some(kind), _) => kind.name().to_owned(),
        (None, _) => "free".to_owned(),
    }
}
