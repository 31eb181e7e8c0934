//! The replies of the scripts, each with a function that parses it.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, EXPIRY_WATCHERS, Ended, HolderView, Moment, Refusal, Renewed,
    Reply, Request, Resized, Run, SharerView, SharingView, Status, Tried, WaiterView, Written,
};
use redis::Value;

use super::answer::{Answer, malformed};
use crate::store::{Envelope, Failure, FailureKind, Push};

/// Reads the reply to that request.
pub(super) fn read(request: &Request, value: Value) -> Result<Envelope<Reply>, Failure> {
    match request {
        Request::Acquire { .. } => timed(value, acquired),
        Request::TryAcquire(_) => timed(value, tried),
        Request::Renew(_) | Request::Transfer { .. } => {
            let one = renewed(value, 1)?.pop().ok_or_else(|| malformed("none"))?;
            Ok(untimed(one?, false))
        }
        Request::End { .. } => ended(value),
        Request::Break { .. } | Request::BreakExternal { .. } => timed(value, broken),
        Request::Downgrade(_) => timed(value, downgraded),
        Request::Resize(_) => timed(value, resized),
        Request::Proclaim { .. }
        | Request::BeginRun { .. }
        | Request::FinishRun { .. }
        | Request::ForgetRun { .. } => Ok(untimed(written(value)?, false)),
        Request::Inspect => timed(value, inspected),
        Request::LastRun => timed(value, last_run),
    }
}

/// A parsed reply, and whether there is more to hand off.
type Read<T> = Result<(T, bool), Failure>;

/// Reads a word and the server's time, and by the word the rest.
fn timed<T: Into<Reply>>(
    value: Value,
    rest: fn(&str, Moment, &mut Answer) -> Read<T>,
) -> Result<Envelope<Reply>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let (reply, again) = rest(&word, at, &mut answer)?;
    let reply = reply.into();
    Ok(Envelope::new(reply, at, again))
}

fn untimed(reply: impl Into<Reply>, again: bool) -> Envelope<Reply> {
    Envelope::new(reply.into(), Moment::from_micros(0), again)
}

fn acquired(word: &str, _: Moment, answer: &mut Answer) -> Read<Acquired> {
    match word {
        "granted" => {
            let (fence, ttl_ms) = (answer.number()?, answer.number()?);
            Ok((Acquired::Granted { fence, ttl_ms }, false))
        }
        "queued" => {
            let (ticket, place) = (answer.number()?, answer.number()?);
            let again = answer.flag()?;
            let holder = holder(answer)?;
            let awaited_expiry_ms = if answer.is_empty() {
                let alone = holder.as_ref().filter(|_| place <= EXPIRY_WATCHERS);
                alone.and_then(|holder| holder.remaining_ms)
            } else {
                answer.optional_number()?
            };
            let queued = Acquired::Queued {
                ticket,
                place,
                holder,
                awaited_expiry_ms,
            };
            Ok((queued, again))
        }
        "ended" => Ok((Acquired::Ended, false)),
        "refused" => Ok((Acquired::Refused(refusal(answer)?), false)),
        other => Err(malformed(other)),
    }
}

fn tried(word: &str, _: Moment, answer: &mut Answer) -> Read<Tried> {
    match word {
        "granted" => {
            let (fence, ttl_ms) = (answer.number()?, answer.number()?);
            Ok((Tried::Granted { fence, ttl_ms }, false))
        }
        "busy" => {
            let waiting = answer.number()?;
            let again = answer.flag()?;
            let holder = holder(answer)?;
            Ok((Tried::Busy { waiting, holder }, again))
        }
        "ended" => Ok((Tried::Ended, false)),
        "refused" => Ok((Tried::Refused(refusal(answer)?), false)),
        other => Err(malformed(other)),
    }
}

/// Parses the reply to an end. The short one has no time, and no work left.
fn ended(value: Value) -> Result<Envelope<Reply>, Failure> {
    let mut answer = Answer::new(value)?;
    let reply = match answer.word()?.as_str() {
        "released" => Ended::Released,
        "left" => Ended::Left,
        "taken" => Ended::NotYours { taken: true },
        "gone" => Ended::NotYours { taken: false },
        other => return Err(malformed(other)),
    };
    if answer.is_empty() {
        return Ok(untimed(reply, false));
    }
    answer.number()?; // the server's time
    Ok(untimed(reply, answer.flag()?))
}

fn broken(word: &str, _: Moment, answer: &mut Answer) -> Read<Broken> {
    match word {
        "freed" => Ok((Broken::Freed, answer.flag()?)),
        "asked" => {
            let remaining_ms = answer.ttl()?.flatten();
            Ok((Broken::Asked { remaining_ms }, false))
        }
        "not-held" => Ok((Broken::NotHeld, false)),
        other => Err(malformed(other)),
    }
}

pub(super) fn renewed(
    value: Value,
    asked: usize,
) -> Result<Vec<Result<Renewed, Failure>>, Failure> {
    let answers: Vec<_> = Answer::list(value)?.into_iter().map(renewed_one).collect();
    if answers.len() == asked {
        Ok(answers)
    } else {
        Err(malformed("a list of another length"))
    }
}

fn renewed_one(value: Value) -> Result<Renewed, Failure> {
    let mut answer = Answer::new(value)?;
    match answer.word()?.as_str() {
        "renewed" => Ok(Renewed::Renewed {
            ttl_ms: answer.number()?,
        }),
        "stopping" => Ok(Renewed::Stopping {
            ttl_ms: answer.number()?,
        }),
        "taken" => Ok(Renewed::NotYours { taken: true }),
        "gone" => Ok(Renewed::NotYours { taken: false }),
        "error" => Err(Failure::before_sending(
            FailureKind::WrongType,
            answer.rest(),
        )),
        other => Err(malformed(other)),
    }
}

/// Reads the reply to SCAN: the next cursor, and keys. Keys that are no text are not ours.
pub(super) fn scanned(value: Value) -> Result<(String, Vec<String>), Failure> {
    let mut parts = Answer::list(value)?.into_iter();
    let (Some(cursor), Some(keys)) = (parts.next(), parts.next()) else {
        return Err(malformed("no cursor"));
    };
    let text = |value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    };
    let cursor = text(cursor).ok_or_else(|| malformed("no cursor"))?;
    let keys = Answer::list(keys)?.into_iter().filter_map(text).collect();
    Ok((cursor, keys))
}

fn refusal(answer: &mut Answer) -> Result<Refusal, Failure> {
    let why = answer.text()?;
    let limit = answer.optional_number()?.map(u32::try_from).transpose();
    let limit = limit.map_err(|_| malformed("a limit"))?;
    match (why.as_str(), limit) {
        ("differs", limit) => Ok(Refusal::LimitDiffers { limit }),
        ("above", Some(limit)) => Ok(Refusal::AboveLimit { limit }),
        _ => Err(malformed(&why)),
    }
}

fn downgraded(word: &str, _: Moment, answer: &mut Answer) -> Read<Downgraded> {
    match word {
        "downgraded" => {
            let again = answer.flag()?;
            let ttl_ms = answer.number()?;
            Ok((Downgraded::Downgraded { ttl_ms }, again))
        }
        "refused" => Ok((Downgraded::Refused(refusal(answer)?), false)),
        "taken" => Ok((Downgraded::NotYours { taken: true }, false)),
        "gone" => Ok((Downgraded::NotYours { taken: false }, false)),
        other => Err(malformed(other)),
    }
}

fn resized(word: &str, _: Moment, answer: &mut Answer) -> Read<Resized> {
    match word {
        "resized" => {
            let again = answer.flag()?;
            let before = u32::try_from(answer.number()?).ok();
            let before = before.and_then(NonZeroU32::new);
            let before = before.ok_or_else(|| malformed("a limit"))?;
            Ok((Resized::Resized { before }, again))
        }
        "not-held" => Ok((Resized::NotHeld, false)),
        other => Err(malformed(other)),
    }
}

fn written(value: Value) -> Result<Written, Failure> {
    match Answer::new(value)?.word()?.as_str() {
        "written" => Ok(Written::Written),
        "not-yours" => Ok(Written::NotYours),
        other => Err(malformed(other)),
    }
}

fn last_run(word: &str, at: Moment, answer: &mut Answer) -> Read<Option<Run>> {
    match word {
        "none" => Ok((None, false)),
        "run" => {
            let fence = answer.number()?;
            let label = answer.text()?.into();
            let started = Moment::from_micros(answer.number()?);
            let ended = answer.optional_number()?.map(Moment::from_micros);
            let outcome = answer.text()?;
            let run = Run {
                fence,
                label,
                started,
                ended: ended.map(|at| (at, outcome.into())),
                turn: Moment::from_micros(answer.number()?),
                memory_ms: answer.number()?,
                until: at.as_millis() + answer.number()?,
            };
            Ok((Some(run), false))
        }
        other => Err(malformed(other)),
    }
}

fn inspected(word: &str, _: Moment, answer: &mut Answer) -> Read<Status> {
    if word != "status" {
        return Err(malformed(word));
    }
    let waiting = answer.number()?;
    let holder = holder(answer)?;
    let value = answer.text()?.strip_prefix('=').map(Into::into);
    let sharing = sharing(answer)?;
    let mut waiters = Vec::new();
    while !answer.is_empty() && waiters.len() < Status::MOST_WAITERS {
        let ticket = answer.number()?;
        let body = answer.text()?;
        let label = body.splitn(5, ' ').nth(4).unwrap_or_default().into();
        waiters.push(WaiterView { ticket, label });
    }
    let status = Status {
        holder,
        value,
        sharing,
        waiting,
        waiters,
    };
    Ok((status, false))
}

/// Reads the shared holds: how many, limit, weight, and some of them.
fn sharing(answer: &mut Answer) -> Result<Option<SharingView>, Failure> {
    let count = answer.number()?;
    let limit = answer.optional_number()?.map(u32::try_from).transpose();
    let limit = limit.map_err(|_| malformed("a limit"))?;
    let (weight, listed) = (answer.number()?, answer.number()?);
    let mut holders = Vec::new();
    for _ in 0..listed.min(Status::MOST_SHARERS as u64) {
        let (owner, fence) = (answer.text()?.into(), answer.optional_number()?);
        let weight = u32::try_from(answer.number()?).map_err(|_| malformed("a weight"))?;
        let since = answer.optional_number()?.map(Moment::from_micros);
        let remaining_ms = answer.ttl()?.flatten();
        let label = answer.text()?.into();
        let holder = HolderView {
            owner,
            fence,
            since,
            remaining_ms,
            label,
        };
        holders.push(SharerView { holder, weight });
    }
    Ok((0 < count).then_some(SharingView {
        limit,
        weight,
        count,
        holders,
    }))
}

/// Reads owner, fence, since, TTL and label; `None` if there is no TTL.
fn holder(answer: &mut Answer) -> Result<Option<HolderView>, Failure> {
    let owner = answer.text()?.into();
    let fence = answer.optional_number()?;
    let since = answer.optional_number()?.map(Moment::from_micros);
    let ttl = answer.ttl()?;
    let label = answer.text()?.into();
    Ok(ttl.map(|remaining_ms| HolderView {
        owner,
        fence,
        since,
        remaining_ms,
        label,
    }))
}

/// Reads a published grant: request id, fence, TTL in ms, time in µs. On a cluster, the id of the
/// granting node follows.
pub(super) fn push(payload: &[u8]) -> Option<(Push, Option<&str>)> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    let request = words.next()?.into();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (fence, ttl_ms, at) = (number()?, number()?, number()?);
    let push = Push {
        request,
        fence,
        ttl_ms,
        at: Moment::from_micros(at),
    };
    Some((push, words.next()))
}
