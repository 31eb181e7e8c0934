//! Conversions between the core's records and the columns of a row.

use std::num::NonZeroU32;
use std::sync::Arc;

use arbiter_lock_core::{Contender, Hold, Limit, Mode, Moment, Note, Root, Run, Sharing, Waiter};
use rusqlite::Row;

/// Converts a number of the core: below 2^53, except for the end of a hold that has none.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn micros(moment: Moment) -> i64 {
    int(moment.as_micros())
}

pub(super) fn kind(note: Note) -> i64 {
    match note {
        Note::GrantedMarker => 0,
        Note::Tombstone => 1,
    }
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column)
        .map(|number| u64::try_from(number).unwrap_or_default())
}

pub(super) fn maybe(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)
        .map(|number| number.and_then(|number| u64::try_from(number).ok()))
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Moment>> {
    maybe(row, column).map(|micros| micros.map(Moment::from_micros))
}

pub(super) fn limit(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<NonZeroU32>> {
    row.get::<_, Option<u32>>(column)
        .map(|limit| limit.and_then(NonZeroU32::new))
}

pub(super) fn words(row: &Row<'_>, column: usize) -> rusqlite::Result<Arc<str>> {
    row.get_ref(column)?
        .as_str()
        .map(Arc::from)
        .map_err(Into::into)
}

pub(super) fn root(row: &Row<'_>) -> rusqlite::Result<Root> {
    let exclusive = match row.get::<_, Option<Box<str>>>(1)? {
        None => None,
        Some(owner) => Some(Hold {
            owner: owner.into(),
            fence: maybe(row, 2)?,
            weight: 0,
            since: moment(row, 3)?,
            last_milli: maybe(row, 4)?,
            channel: words(row, 5)?,
            label: words(row, 6)?,
            stopping: row.get(7)?,
            value: row.get::<_, Option<Box<str>>>(8)?.map(Arc::from),
        }),
    };
    let sharing = match maybe(row, 9)? {
        None => None,
        Some(generation) => Some(Sharing {
            generation,
            limit: limit(row, 10)?,
            count: unsigned(row, 11)?,
            weight: unsigned(row, 12)?,
        }),
    };
    Ok(Root {
        exclusive,
        sharing,
        waiting: unsigned(row, 13)?,
        skipped: unsigned(row, 14)?,
        notes: unsigned(row, 15)?,
        latest_grant: moment(row, 16)?,
        liveness_cutoff: moment(row, 17)?,
        queue_until: unsigned(row, 18)?,
        last_fence: unsigned(row, 19)?,
        fence_until: unsigned(row, 20)?,
    })
}

pub(super) fn hold(row: &Row<'_>) -> rusqlite::Result<Hold> {
    Ok(Hold {
        owner: words(row, 0)?,
        fence: maybe(row, 1)?,
        weight: row.get(2)?,
        since: moment(row, 3)?,
        last_milli: maybe(row, 4)?.filter(|end| *end != i64::MAX as u64),
        channel: words(row, 5)?,
        label: words(row, 6)?,
        stopping: row.get(7)?,
        value: None,
    })
}

pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    let ended = match moment(row, 3)? {
        Some(at) => Some((at, words(row, 4)?)),
        None => None,
    };
    Ok(Run {
        fence: unsigned(row, 0)?,
        label: words(row, 1)?,
        started: Moment::from_micros(unsigned(row, 2)?),
        ended,
        until: unsigned(row, 5)?,
    })
}

pub(super) fn waiter(row: &Row<'_>) -> rusqlite::Result<Waiter> {
    let mode = match NonZeroU32::new(row.get(3)?) {
        None => Mode::Exclusive,
        Some(weight) => Mode::Shared {
            weight,
            limit: match (limit(row, 4)?, row.get(5)?) {
                (None, _) => Limit::Unlimited,
                (Some(limit), false) => Limit::Stated(limit),
                (Some(limit), true) => Limit::Followed(limit),
            },
        },
    };
    Ok(Waiter {
        contender: Contender {
            id: words(row, 0)?,
            mode,
            lease_ms: unsigned(row, 6)?,
            channel: words(row, 7)?,
            label: words(row, 8)?,
        },
        ticket: unsigned(row, 1)?,
        seen: moment(row, 2)?,
    })
}
