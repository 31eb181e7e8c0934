//! What the scripts reply: for each one function that reads it.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, EXPIRY_WATCHERS, Ended, HolderView, Moment, Refusal, Renewed,
    Resized, Run, SharerView, SharingView, Status, Tried, WaiterView, Written,
};
use redis::Value;

use super::answer::{Answer, malformed};
use crate::store::{EndedEnvelope, Envelope, Failure, FailureKind, Push};

pub(super) fn acquired(value: Value) -> Result<Envelope<Acquired>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let (reply, again) = match word.as_str() {
        "granted" => (
            Acquired::Granted {
                fence: answer.number()?,
                life_ms: answer.number()?,
            },
            false,
        ),
        "queued" => {
            let (ticket, place) = (answer.number()?, answer.number()?);
            let again = answer.flag()?;
            let holder = holder(&mut answer)?;
            let awaited_expiry_ms = if answer.is_empty() {
                let alone = holder.as_ref().filter(|_| place <= EXPIRY_WATCHERS);
                alone.and_then(|holder| holder.remaining_ms)
            } else {
                answer.optional_number()?
            };
            (
                Acquired::Queued {
                    ticket,
                    place,
                    holder,
                    awaited_expiry_ms,
                },
                again,
            )
        }
        "ended" => (Acquired::Ended, false),
        "refused" => (Acquired::Refused(refusal(&mut answer)?), false),
        other => return Err(malformed(other)),
    };
    Ok(Envelope { reply, at, again })
}

pub(super) fn tried(value: Value) -> Result<Envelope<Tried>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let (reply, again) = match word.as_str() {
        "granted" => (
            Tried::Granted {
                fence: answer.number()?,
                life_ms: answer.number()?,
            },
            false,
        ),
        "busy" => {
            let waiting = answer.number()?;
            let again = answer.flag()?;
            (
                Tried::Busy {
                    waiting,
                    holder: holder(&mut answer)?,
                },
                again,
            )
        }
        "ended" => (Tried::Ended, false),
        "refused" => (Tried::Refused(refusal(&mut answer)?), false),
        other => return Err(malformed(other)),
    };
    Ok(Envelope { reply, at, again })
}

/// Reads the answer to an end; the short one tells no time and has no more to do.
pub(super) fn ended(value: Value) -> Result<EndedEnvelope, Failure> {
    let mut answer = Answer::new(value)?;
    let reply = match answer.word()?.as_str() {
        "released" => Ended::Released,
        "left" => Ended::Left,
        "not-yours" => Ended::NotYours,
        other => return Err(malformed(other)),
    };
    if answer.is_empty() {
        return Ok(EndedEnvelope {
            reply,
            again: false,
        });
    }
    answer.number()?; // the server's time
    Ok(EndedEnvelope {
        reply,
        again: answer.flag()?,
    })
}

pub(super) fn broken(value: Value) -> Result<Envelope<Broken>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let (reply, again) = match word.as_str() {
        "freed" => (Broken::Freed, answer.flag()?),
        "asked" => (
            Broken::Asked {
                remaining_ms: answer.life()?.flatten(),
            },
            false,
        ),
        "not-held" => (Broken::NotHeld, false),
        other => return Err(malformed(other)),
    };
    Ok(Envelope { reply, at, again })
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
            life_ms: answer.number()?,
        }),
        "stopping" => Ok(Renewed::Stopping {
            life_ms: answer.number()?,
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

pub(super) fn downgraded(value: Value) -> Result<Envelope<Downgraded>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let (reply, again) = match word.as_str() {
        "downgraded" => {
            let again = answer.flag()?;
            let life_ms = answer.number()?;
            (Downgraded::Downgraded { life_ms }, again)
        }
        "refused" => (Downgraded::Refused(refusal(&mut answer)?), false),
        "taken" => (Downgraded::NotYours { taken: true }, false),
        "gone" => (Downgraded::NotYours { taken: false }, false),
        other => return Err(malformed(other)),
    };
    Ok(Envelope { reply, at, again })
}

pub(super) fn resized(value: Value) -> Result<Envelope<Resized>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let (reply, again) = match word.as_str() {
        "resized" => {
            let again = answer.flag()?;
            let before = u32::try_from(answer.number()?).ok();
            let before = before.and_then(NonZeroU32::new);
            let before = before.ok_or_else(|| malformed("a limit"))?;
            (Resized::Resized { before }, again)
        }
        "not-held" => (Resized::NotHeld, false),
        other => return Err(malformed(other)),
    };
    Ok(Envelope { reply, at, again })
}

pub(super) fn written(value: Value) -> Result<Written, Failure> {
    match Answer::new(value)?.word()?.as_str() {
        "written" => Ok(Written::Written),
        "not-yours" => Ok(Written::NotYours),
        other => Err(malformed(other)),
    }
}

pub(super) fn ran(value: Value) -> Result<Envelope<Option<Run>>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    let at = Moment::from_micros(answer.number()?);
    let reply = match word.as_str() {
        "none" => None,
        "run" => {
            let fence = answer.number()?;
            let label = answer.text()?.into();
            let started = Moment::from_micros(answer.number()?);
            let ended = answer.optional_number()?.map(Moment::from_micros);
            let outcome = answer.text()?;
            Some(Run {
                fence,
                label,
                started,
                ended: ended.map(|at| (at, outcome.into())),
                until: at.as_millis() + answer.number()?,
            })
        }
        other => return Err(malformed(other)),
    };
    Ok(Envelope {
        reply,
        at,
        again: false,
    })
}

pub(super) fn inspected(value: Value) -> Result<Envelope<Status>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    if word != "status" {
        return Err(malformed(&word));
    }
    let at = Moment::from_micros(answer.number()?);
    let waiting = answer.number()?;
    let holder = holder(&mut answer)?;
    let value = answer.text()?.strip_prefix('=').map(Into::into);
    let sharing = sharing(&mut answer)?;
    let mut waiters = Vec::new();
    while !answer.is_empty() && waiters.len() < Status::MOST_WAITERS {
        let ticket = answer.number()?;
        let body = answer.text()?;
        let label = body.splitn(5, ' ').nth(4).unwrap_or_default().into();
        waiters.push(WaiterView { ticket, label });
    }
    Ok(Envelope {
        reply: Status {
            holder,
            value,
            sharing,
            waiting,
            waiters,
        },
        at,
        again: false,
    })
}

/// Reads those who share: how many, limit, weight, and some of them.
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
        let remaining_ms = answer.life()?.flatten();
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

/// Reads owner, fence, since, life and label; nobody where there is no life.
fn holder(answer: &mut Answer) -> Result<Option<HolderView>, Failure> {
    let owner = answer.text()?.into();
    let fence = answer.optional_number()?;
    let since = answer.optional_number()?.map(Moment::from_micros);
    let life = answer.life()?;
    let label = answer.text()?.into();
    Ok(life.map(|remaining_ms| HolderView {
        owner,
        fence,
        since,
        remaining_ms,
        label,
    }))
}

/// Reads a grant that was published: request id, fence, life in ms, time in µs.
pub(super) fn push(payload: &[u8]) -> Option<Push> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    let request = words.next()?.into();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (fence, life_ms, at) = (number()?, number()?, number()?);
    Some(Push {
        request,
        fence,
        life_ms,
        at: Moment::from_micros(at),
    })
}
