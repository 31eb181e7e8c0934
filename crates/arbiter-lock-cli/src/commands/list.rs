//! `arbiter list`: lists the locks that are held or waited for.

use arbiter_lock::{Listed, NoopLogger};

use super::row::{Rank, Row, is_wanted, kind};
use super::status::json_of;
use crate::cli::{ListArgs, Selection, StoreArgs};
use crate::exit::Exit;
use crate::output;
use crate::shell::quoted;
use crate::stdout::{json_line, lines};
use crate::store;

/// Lists the locks, page by page unless they are sorted.
pub(crate) async fn list(args: &ListArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let client = store::client(store, NoopLogger)?;
    let mut locks = client.list(&args.selection.pattern);
    let mut sorted = Vec::new();
    let mut printer = Printer::new(args.json);
    while let Some(lock) = locks.next().await.map_err(|error| store::fail(&error))? {
        if !is_wanted(&args.selection, &lock.status) {
            report_unseen(&args.selection, &lock);
            continue;
        }
        match args.sort {
            Some(_) => sorted.push(lock),
            None => printer.print(&lock)?,
        }
    }
    if let Some(key) = args.sort {
        sorted.sort_by(|a, b| Rank::of(a).compare(&Rank::of(b), key));
    }
    sorted.iter().try_for_each(|lock| printer.print(lock))?;
    printer.end()?;
    Ok(Exit::Success)
}

/// Reports a lock with more holders than the store returns, any of which may be of that host.
fn report_unseen(selection: &Selection, lock: &Listed) {
    let (Some(host), Some(sharing)) = (&selection.held_by, &lock.status.sharing) else {
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
        lines(&text(&Row::of(lock)))
    }

    fn heading(&mut self) -> Result<(), Exit> {
        if self.json || std::mem::replace(&mut self.has_heading, true) {
            return Ok(());
        }
        lines(&text(&Row::titles()))
    }

    /// Prints at least the heading.
    fn end(&mut self) -> Result<(), Exit> {
        self.heading()
    }
}

fn text(row: &Row) -> String {
    let Row {
        name,
        kind,
        held,
        remaining,
        waiting,
        holder,
    } = row;
    format!("{name:<32} {kind:<14} {held:>8} {remaining:>9} {waiting:>7}  {holder}")
}
