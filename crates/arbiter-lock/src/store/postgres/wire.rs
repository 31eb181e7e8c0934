//! Requests to the functions of the schema, and their answers, as JSON.
//!
//! PostgreSQL's text has no NUL, so that character is escaped.

use std::borrow::Cow;
use std::sync::Arc;

use arbiter_lock_core::{Grant, Moment, Note};
use serde_json::{Map, Value as Json, json};

use super::rows::{Changes, Loaded, SnapshotRows};
use crate::store::columns::{
    Columns, Value, hold, hold_values, kind, micros, root, root_values, run, run_values, waiter,
    waiter_values,
};
use crate::store::{Failure, FailureKind};

const ROOT: [&str; 20] = [
    "owner",
    "fence",
    "since",
    "until",
    "channel",
    "label",
    "stopping",
    "value",
    "generation",
    "limit",
    "sharers",
    "weight",
    "waiting",
    "skipped",
    "notes",
    "granted",
    "liveness_cutoff",
    "queue_until",
    "last_fence",
    "fence_until",
];
const HOLD: [&str; 8] = [
    "owner", "fence", "weight", "since", "until", "channel", "label", "stopping",
];
const WAITER: [&str; 10] = [
    "id", "ticket", "seen", "skipped", "weight", "limit", "follows", "lease_ms", "channel", "label",
];
const RUN: [&str; 8] = [
    "fence",
    "label",
    "started",
    "ended",
    "outcome",
    "until",
    "turn",
    "memory_ms",
];

/// Escapes characters that PostgreSQL's text cannot contain.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    match text.contains(['\0', '\u{1}']) {
        false => text.into(),
        true => text
            .replace('\u{1}', "\u{1}1")
            .replace('\0', "\u{1}0")
            .into(),
    }
}

/// Reverses [`escaped`].
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    match text.contains('\u{1}') {
        false => text.into(),
        true => text
            .replace("\u{1}0", "\0")
            .replace("\u{1}1", "\u{1}")
            .into(),
    }
}

/// Returns the failure for a malformed answer of the server.
fn malformed(what: &str) -> Failure {
    Failure::unknown(
        FailureKind::Malformed,
        format!("{what} of the answer is malformed"),
    )
}

/// A row as an array.
struct JsonRow<'a>(&'a [Json]);

impl Columns for JsonRow<'_> {
    type Error = Failure;

    fn int(&self, column: usize) -> Result<Option<i64>, Failure> {
        match self.0.get(column) {
            Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => number
                .as_i64()
                .map(Some)
                .ok_or_else(|| malformed("a number")),
            _ => Err(malformed("a row")),
        }
    }

    fn flag(&self, column: usize) -> Result<bool, Failure> {
        match self.0.get(column) {
            Some(Json::Null) => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            _ => Err(malformed("a row")),
        }
    }

    fn text(&self, column: usize) -> Result<Option<Arc<str>>, Failure> {
        match self.0.get(column) {
            Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(unescaped(text).into())),
            _ => Err(malformed("a row")),
        }
    }
}

/// Returns the rows in a field; none if it is null or missing.
fn rows<'a>(of: &'a Json, field: &str) -> impl Iterator<Item = JsonRow<'a>> {
    let rows = of.get(field).and_then(Json::as_array);
    let rows = rows.into_iter().flatten();
    rows.map(|row| JsonRow(row.as_array().map_or(&[], Vec::as_slice)))
}

fn is_set(of: &Json, field: &str) -> bool {
    of.get(field).and_then(Json::as_bool).unwrap_or(false)
}

/// Reads the state of a name, and the time of the server.
pub(super) fn loaded(state: &str) -> Result<(Moment, Loaded), Failure> {
    let state: Json = serde_json::from_str(state).map_err(|_| malformed("a state"))?;
    let at = state.get(0).and_then(Json::as_u64);
    let at = Moment::from_micros(at.ok_or_else(|| malformed("a time"))?);
    let mut loaded = Loaded {
        has_all_shared: true,
        has_all_notes: true,
        has_all_places: true,
        ..Loaded::default()
    };
    if let Some(columns) = state.get(1).and_then(Json::as_array) {
        let row = JsonRow(columns);
        loaded.root = root(&row)?;
        loaded.revision = row.int(ROOT.len())?;
    }
    let Some(rest) = state.get(2).filter(|rest| rest.is_object()) else {
        return Ok((at, loaded));
    };
    loaded.waiters = rows(rest, "waiters")
        .map(|row| waiter(&row))
        .collect::<Result<_, _>>()?;
    if rest.get("places").is_some_and(Json::is_array) {
        let place = |row: JsonRow<'_>| Ok((row.number(0)?, row.words(1)?));
        loaded.places = Some(rows(rest, "places").map(place).collect::<Result<_, _>>()?);
    }
    loaded.shared = rows(rest, "shared")
        .map(|row| hold(&row))
        .collect::<Result<_, _>>()?;
    loaded.has_all_places = is_set(rest, "all_places");
    loaded.has_all_shared = is_set(rest, "all_shared");
    if !loaded.has_all_shared {
        let ends = rest.get("ends").and_then(Json::as_u64);
        let ends = ends.and_then(|ends| usize::try_from(ends).ok());
        loaded.set_ends(ends.ok_or_else(|| malformed("a window"))?);
    }
    let note = |row: JsonRow<'_>| {
        let note = match row.int(1)? {
            Some(0) => Note::GrantedMarker,
            Some(1) => Note::Tombstone,
            _ => return Err(malformed("a note")),
        };
        Ok((note, row.words(0)?, row.moment(2)?.unwrap_or(at)))
    };
    loaded.notes = rows(rest, "notes").map(note).collect::<Result<_, _>>()?;
    loaded.has_all_notes = is_set(rest, "all_notes");
    loaded.has_old = is_set(rest, "old");
    loaded.has_more_old = is_set(rest, "more_old");
    loaded.has_run = is_set(rest, "has_run");
    let unheard = rest.get("unheard").and_then(Json::as_array);
    let unheard = unheard.into_iter().flatten().filter_map(Json::as_str);
    loaded.unheard = unheard.map(|channel| unescaped(channel).into()).collect();
    if let Some(columns) = rest.get("run").and_then(Json::as_array) {
        loaded.run = Some(run(&JsonRow(columns))?);
    }
    Ok((at, loaded))
}

/// What to write for several names.
#[derive(Default)]
pub(super) struct Changeset {
    fields: Map<String, Json>,
}

impl Changeset {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(super) fn into_text(self) -> String {
        Json::Object(self.fields).to_string()
    }

    fn add(&mut self, field: &str, row: Json) {
        let rows = self.fields.entry(field).or_insert_with(|| json!([]));
        if let Json::Array(rows) = rows {
            rows.push(row);
        }
    }

    /// Adds the revision of a name that was read, and whether its exclusive hold ends.
    fn expect(&mut self, key: &str, expected: i64, ends: bool) {
        self.add("keys", key.into());
        self.add("expected", expected.into());
        if ends {
            self.add("ends", key.into());
        }
    }

    /// Adds the changes of a name, which has another revision then.
    pub(super) fn change(
        &mut self,
        key: &str,
        rows: &SnapshotRows,
        expected: Option<i64>,
        revision: i64,
    ) {
        use arbiter_lock_core::Rows as _;
        let mut root = row(key, &ROOT, &root_values(rows.root()));
        root.insert("revision".into(), revision.into());
        match expected {
            None => self.add("new", root.into()),
            Some(expected) => {
                self.expect(key, expected, rows.ends_exclusive());
                self.add("names", root.into());
            }
        }
        let Changes {
            is_cleared,
            waiters,
            shared,
            notes,
            run,
        } = &rows.changes;
        if *is_cleared {
            self.add("cleared", key.into());
        }
        for (id, waiter) in waiters {
            match waiter {
                Some(waiter) => {
                    let values = waiter_values(waiter);
                    self.add("waiters", row(key, &WAITER, &values).into());
                }
                None => self.add("left", json!({"name": key, "id": escaped(id)})),
            }
        }
        for (owner, hold) in shared {
            // A transaction may guard the hold that ends.
            if hold.as_ref().is_none_or(|hold| rows.replaces(hold)) {
                self.add("gone", json!({"name": key, "owner": escaped(owner)}));
            }
            if let Some(hold) = hold {
                self.add("shared", row(key, &HOLD, &hold_values(hold)).into());
            }
        }
        for ((note, id), at) in notes {
            let kind = kind(*note);
            match at {
                Some(at) => {
                    let at = micros(*at);
                    let note = json!({"name": key, "id": escaped(id), "kind": kind, "at": at});
                    self.add("notes", note);
                }
                None => {
                    let note = json!({"name": key, "id": escaped(id), "kind": kind});
                    self.add("unnoted", note);
                }
            }
        }
        if let Some(run) = run {
            self.add("runs", row(key, &RUN, &run_values(run)).into());
        }
    }

    /// Adds a name that nothing remembers. Its shared holds have expired.
    pub(super) fn forget(&mut self, key: &str, rows: &SnapshotRows, expected: i64) {
        self.expect(key, expected, true);
        self.add("cleared", key.into());
        self.add("forgotten", key.into());
        for owner in rows.changes.shared.keys() {
            self.add("gone", json!({"name": key, "owner": escaped(owner)}));
        }
    }

    /// Adds a notification of a grant.
    pub(super) fn notify(&mut self, key: &str, grant: &Grant) {
        let channel = escaped(&grant.channel);
        self.add(
            "grants",
            json!({"name": key, "channel": channel, "payload": payload(grant)}),
        );
    }
}

/// Returns the notification of a grant: the request, its fence, its TTL in ms, the time in µs.
pub(super) fn payload(grant: &Grant) -> String {
    let Grant {
        request,
        fence,
        ttl_ms,
        at,
        ..
    } = grant;
    let request = escaped(request);
    format!("{request} {fence} {ttl_ms} {}", at.as_micros())
}

fn row(key: &str, columns: &[&str], values: &[Value<'_>]) -> Map<String, Json> {
    let value = |value: &Value<'_>| match value {
        Value::Null => Json::Null,
        Value::Int(number) => (*number).into(),
        Value::Flag(flag) => (*flag).into(),
        Value::Text(text) => escaped(text).into(),
    };
    let columns = columns.iter().map(|column| (*column).to_owned());
    let mut row: Map<_, _> = columns.zip(values.iter().map(value)).collect();
    row.insert("name".into(), key.into());
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_survives_the_escape() {
        for text in [
            "",
            "a",
            "\0",
            "\u{1}",
            "\u{1}0",
            "\0\u{1}1\0",
            "a\u{1}\u{1}0",
        ] {
            let there = escaped(text);
            assert!(!there.contains('\0'));
            assert_eq!(unescaped(&there), text, "{there:?}");
        }
    }
}
