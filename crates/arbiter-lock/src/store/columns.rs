//! The columns of the stores that keep rows in tables: the core's records as values, in one order.
//!
//! The order is that of the tables, without the name.

use std::num::NonZeroU32;
use std::sync::Arc;

use arbiter_lock_core::{Contender, Hold, Limit, Mode, Moment, Note, Root, Run, Sharing, Waiter};

/// A value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Flag(bool),
    Text(&'a str),
}

impl Value<'_> {
    fn maybe_int(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Int)
    }

    fn maybe_at(moment: Option<Moment>) -> Self {
        Self::maybe_int(moment.map(micros))
    }
}

impl<'a> Value<'a> {
    fn maybe_text(text: Option<&'a str>) -> Self {
        text.map_or(Value::Null, Value::Text)
    }
}

/// The columns of a row that was read.
pub(crate) trait Columns {
    type Error;

    fn int(&self, column: usize) -> Result<Option<i64>, Self::Error>;
    fn flag(&self, column: usize) -> Result<bool, Self::Error>;
    fn text(&self, column: usize) -> Result<Option<Arc<str>>, Self::Error>;

    fn number(&self, column: usize) -> Result<u64, Self::Error> {
        let number = self.int(column)?.unwrap_or_default();
        Ok(u64::try_from(number).unwrap_or_default())
    }

    fn maybe(&self, column: usize) -> Result<Option<u64>, Self::Error> {
        let number = self.int(column)?;
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    }

    fn small(&self, column: usize) -> Result<u32, Self::Error> {
        let number = self.int(column)?.unwrap_or_default();
        Ok(u32::try_from(number).unwrap_or_default())
    }

    fn moment(&self, column: usize) -> Result<Option<Moment>, Self::Error> {
        Ok(self.maybe(column)?.map(Moment::from_micros))
    }

    fn words(&self, column: usize) -> Result<Arc<str>, Self::Error> {
        Ok(self.text(column)?.unwrap_or_default())
    }
}

/// Converts a number of the core: below 2^53, except for the end of a hold that has none.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn micros(moment: Moment) -> i64 {
    int(moment.as_micros())
}

pub(crate) fn kind(note: Note) -> i64 {
    match note {
        Note::GrantedMarker => 0,
        Note::Tombstone => 1,
    }
}

pub(crate) fn root<C: Columns>(row: &C) -> Result<Root, C::Error> {
    let exclusive = match row.text(0)? {
        None => None,
        Some(owner) => Some(Hold {
            owner,
            fence: row.maybe(1)?,
            weight: 0,
            since: row.moment(2)?,
            last_milli: row.maybe(3)?,
            channel: row.words(4)?,
            label: row.words(5)?,
            stopping: row.flag(6)?,
            value: row.text(7)?,
        }),
    };
    let sharing = match row.maybe(8)? {
        None => None,
        Some(generation) => Some(Sharing {
            generation,
            limit: NonZeroU32::new(row.small(9)?),
            count: row.number(10)?,
            weight: row.number(11)?,
        }),
    };
    Ok(Root {
        exclusive,
        sharing,
        waiting: row.number(12)?,
        skipped: row.number(13)?,
        notes: row.number(14)?,
        latest_grant: row.moment(15)?,
        liveness_cutoff: row.moment(16)?,
        queue_until: row.number(17)?,
        last_fence: row.number(18)?,
        fence_until: row.number(19)?,
    })
}

pub(crate) fn root_values(root: &Root) -> [Value<'_>; 20] {
    let hold = root.exclusive.as_ref();
    let sharing = root.sharing.as_ref();
    let limit = sharing.and_then(|sharing| sharing.limit);
    [
        Value::maybe_text(hold.map(|hold| &*hold.owner)),
        Value::maybe_int(hold.and_then(|hold| hold.fence).map(int)),
        Value::maybe_at(hold.and_then(|hold| hold.since)),
        Value::maybe_int(hold.and_then(|hold| hold.last_milli).map(int)),
        Value::maybe_text(hold.map(|hold| &*hold.channel)),
        Value::maybe_text(hold.map(|hold| &*hold.label)),
        hold.map_or(Value::Null, |hold| Value::Flag(hold.stopping)),
        Value::maybe_text(hold.and_then(|hold| hold.value.as_deref())),
        Value::maybe_int(sharing.map(|sharing| int(sharing.generation))),
        Value::maybe_int(limit.map(|limit| limit.get().into())),
        Value::maybe_int(sharing.map(|sharing| int(sharing.count))),
        Value::maybe_int(sharing.map(|sharing| int(sharing.weight))),
        Value::Int(int(root.waiting)),
        Value::Int(int(root.skipped)),
        Value::Int(int(root.notes)),
        Value::maybe_at(root.latest_grant),
        Value::maybe_at(root.liveness_cutoff),
        Value::Int(int(root.queue_until)),
        Value::Int(int(root.last_fence)),
        Value::Int(int(root.fence_until)),
    ]
}

pub(crate) fn hold<C: Columns>(row: &C) -> Result<Hold, C::Error> {
    Ok(Hold {
        owner: row.words(0)?,
        fence: row.maybe(1)?,
        weight: row.small(2)?,
        since: row.moment(3)?,
        last_milli: row.maybe(4)?.filter(|end| *end != i64::MAX as u64),
        channel: row.words(5)?,
        label: row.words(6)?,
        stopping: row.flag(7)?,
        value: None,
    })
}

pub(crate) fn hold_values(hold: &Hold) -> [Value<'_>; 8] {
    [
        Value::Text(&hold.owner),
        Value::Int(int(hold.fence.unwrap_or_default())),
        Value::Int(hold.weight.into()),
        Value::maybe_at(hold.since),
        Value::Int(int(hold.end())),
        Value::Text(&hold.channel),
        Value::Text(&hold.label),
        Value::Flag(hold.stopping),
    ]
}

pub(crate) fn waiter<C: Columns>(row: &C) -> Result<Waiter, C::Error> {
    let limit = NonZeroU32::new(row.small(5)?);
    let mode = match NonZeroU32::new(row.small(4)?) {
        None => Mode::Exclusive,
        Some(weight) => Mode::Shared {
            weight,
            limit: match (limit, row.flag(6)?) {
                (None, _) => Limit::Unlimited,
                (Some(limit), false) => Limit::Stated(limit),
                (Some(limit), true) => Limit::Followed(limit),
            },
        },
    };
    let is_skipped = row.flag(3)?;
    Ok(Waiter {
        contender: Contender {
            id: row.words(0)?,
            mode,
            lease_ms: row.number(7)?,
            channel: row.words(8)?,
            label: row.words(9)?,
        },
        ticket: row.number(1)?,
        seen: row.moment(2)?.filter(|_| !is_skipped),
    })
}

pub(crate) fn waiter_values(waiter: &Waiter) -> [Value<'_>; 10] {
    let contender = &waiter.contender;
    let (weight, limit) = match contender.mode {
        Mode::Exclusive => (0, Limit::Unlimited),
        Mode::Shared { weight, limit } => (weight.get(), limit),
    };
    [
        Value::Text(&contender.id),
        Value::Int(int(waiter.ticket)),
        Value::Int(micros(waiter.touched())),
        Value::Flag(waiter.seen.is_none()),
        Value::Int(weight.into()),
        Value::maybe_int(limit.first().map(|limit| limit.get().into())),
        Value::Flag(matches!(limit, Limit::Followed(_))),
        Value::Int(int(contender.lease_ms)),
        Value::Text(&contender.channel),
        Value::Text(&contender.label),
    ]
}

pub(crate) fn run<C: Columns>(row: &C) -> Result<Run, C::Error> {
    let ended = match row.moment(3)? {
        Some(at) => Some((at, row.words(4)?)),
        None => None,
    };
    Ok(Run {
        fence: row.number(0)?,
        label: row.words(1)?,
        started: Moment::from_micros(row.number(2)?),
        ended,
        until: row.number(5)?,
        turn: Moment::from_micros(row.number(6)?),
        memory_ms: row.number(7)?,
    })
}

pub(crate) fn run_values(run: &Run) -> [Value<'_>; 8] {
    let ended = run.ended.as_ref();
    [
        Value::Int(int(run.fence)),
        Value::Text(&run.label),
        Value::Int(micros(run.started)),
        Value::maybe_at(ended.map(|(at, _)| *at)),
        Value::maybe_text(ended.map(|(_, outcome)| &**outcome)),
        Value::Int(int(run.until)),
        Value::Int(micros(run.turn)),
        Value::Int(int(run.memory_ms)),
    ]
}
