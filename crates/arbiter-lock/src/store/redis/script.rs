//! The scripts: for each one function that makes the call, and one that reads its answer.

use std::sync::LazyLock;

use arbiter_lock_core::{
    Acquired, Broken, Ended, HolderView, Moment, Renewed, Request, Status, Tried, WaiterView,
};
use redis::{Cmd, Value};

use super::answer::{Answer, malformed};
use super::keys::Keys;
use crate::store::{Failure, FailureKind, Push, Renewal, Said, SaidEnded};

/// A script's source and its hash, by which the server knows it.
pub(super) struct Script {
    source: &'static str,
    sha1: String,
}

/// A call of a script.
pub(super) struct Call<'a> {
    script: &'static Script,
    keys: Vec<&'a str>,
    args: Vec<Arg<'a>>,
}

enum Arg<'a> {
    Text(&'a str),
    Number(u64),
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)+
    };
}

scripts! {
    ACQUIRE = "lua/lock.lua" "lua/hold.lua" "lua/acquire_free.lua" "lua/queue.lua" "lua/acquire.lua";
    END = "lua/lock.lua" "lua/end_alone.lua" "lua/hold.lua" "lua/queue.lua" "lua/end.lua";
    BREAK = "lua/lock.lua" "lua/hold.lua" "lua/queue.lua" "lua/break.lua";
    RENEW = "lua/renew.lua";
    INSPECT = "lua/inspect.lua";
    PROBE = "lua/probe.lua";
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self {
            source,
            sha1: redis::Script::new(source).get_hash().to_owned(),
        }
    }
}

impl Call<'_> {
    /// The call by the script's hash.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.sha1)
    }

    /// The call with the script's source, for a server that does not know it.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut cmd = redis::cmd(verb);
        cmd.arg(script).arg(self.keys.len());
        for key in &self.keys {
            cmd.arg(*key);
        }
        for arg in &self.args {
            match arg {
                Arg::Text(text) => cmd.arg(*text),
                Arg::Number(number) => cmd.arg(*number),
            };
        }
        cmd
    }
}

fn of_lock<'a>(script: &'static Script, keys: &'a Keys, args: Vec<Arg<'a>>) -> Call<'a> {
    Call {
        script,
        keys: vec![&keys.lock, &keys.last_fence, &keys.queue],
        args,
    }
}

pub(super) fn acquire<'a>(keys: &'a Keys, request: &'a Request, ticket: Option<u64>) -> Call<'a> {
    let ticket = ticket.map_or(Arg::Text(""), Arg::Number);
    let [id, lease, channel, label] = body(request);
    of_lock(
        &ACQUIRE,
        keys,
        vec![Arg::Text("wait"), ticket, id, lease, channel, label],
    )
}

pub(super) fn try_acquire<'a>(keys: &'a Keys, request: &'a Request) -> Call<'a> {
    let [id, lease, channel, label] = body(request);
    of_lock(
        &ACQUIRE,
        keys,
        vec![Arg::Text("try"), Arg::Text(""), id, lease, channel, label],
    )
}

pub(super) fn end<'a>(keys: &'a Keys, request: &'a Request, tombstone: bool) -> Call<'a> {
    let [id, lease, channel, label] = body(request);
    let tombstone = Arg::Text(if tombstone { "1" } else { "" });
    of_lock(&END, keys, vec![id, lease, channel, label, tombstone])
}

pub(super) fn break_hold(keys: &Keys, fence: u64, at_once: bool) -> Call<'_> {
    let how = Arg::Text(if at_once { "now" } else { "ask" });
    of_lock(&BREAK, keys, vec![Arg::Number(fence), how])
}

pub(super) fn renew<'a>(keys: &'a [Keys], renewals: &[Renewal<'a>]) -> Call<'a> {
    let keys = keys.iter().map(|keys| keys.lock.as_str()).collect();
    let args = renewals.iter().flat_map(|renewal| {
        [
            Arg::Text(renewal.owner),
            Arg::Number(renewal.fence),
            Arg::Number(renewal.lease_ms),
        ]
    });
    Call {
        script: &RENEW,
        keys,
        args: args.collect(),
    }
}

pub(super) fn inspect(keys: &Keys) -> Call<'_> {
    let most = Arg::Number(Status::MOST_WAITERS as u64);
    Call {
        script: &INSPECT,
        keys: vec![&keys.lock, &keys.queue],
        args: vec![most],
    }
}

/// A call that changes nothing, and fails where the others would.
pub(super) fn probe() -> Call<'static> {
    Call {
        script: &PROBE,
        keys: vec!["arbiter.probe"],
        args: Vec::new(),
    }
}

fn body(request: &Request) -> [Arg<'_>; 4] {
    [
        Arg::Text(&request.id),
        Arg::Number(request.lease_ms),
        Arg::Text(&request.channel),
        Arg::Text(&request.label),
    ]
}

pub(super) fn acquired(value: Value) -> Result<Said<Acquired>, Failure> {
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
            (
                Acquired::Queued {
                    ticket,
                    place,
                    holder: holder(&mut answer)?,
                },
                again,
            )
        }
        "ended" => (Acquired::Ended, false),
        other => return Err(malformed(other)),
    };
    Ok(Said { reply, at, again })
}

pub(super) fn tried(value: Value) -> Result<Said<Tried>, Failure> {
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
        other => return Err(malformed(other)),
    };
    Ok(Said { reply, at, again })
}

/// Reads the answer to an end; the short one tells no time and has no more to do.
pub(super) fn ended(value: Value) -> Result<SaidEnded, Failure> {
    let mut answer = Answer::new(value)?;
    let reply = match answer.word()?.as_str() {
        "released" => Ended::Released,
        "left" => Ended::Left,
        "not-yours" => Ended::NotYours,
        other => return Err(malformed(other)),
    };
    if answer.is_empty() {
        return Ok(SaidEnded {
            reply,
            again: false,
        });
    }
    answer.number()?; // the server's time
    Ok(SaidEnded {
        reply,
        again: answer.flag()?,
    })
}

pub(super) fn broken(value: Value) -> Result<Said<Broken>, Failure> {
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
    Ok(Said { reply, at, again })
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

pub(super) fn inspected(value: Value) -> Result<Said<Status>, Failure> {
    let mut answer = Answer::new(value)?;
    let word = answer.word()?;
    if word != "status" {
        return Err(malformed(&word));
    }
    let at = Moment::from_micros(answer.number()?);
    let waiting = answer.number()?;
    let holder = holder(&mut answer)?;
    let mut waiters = Vec::new();
    while !answer.is_empty() && waiters.len() < Status::MOST_WAITERS {
        let ticket = answer.number()?;
        let body = answer.text()?;
        let label = body.splitn(4, ' ').nth(3).unwrap_or_default().into();
        waiters.push(WaiterView { ticket, label });
    }
    Ok(Said {
        reply: Status {
            holder,
            value: None,
            sharing: None,
            waiting,
            waiters,
        },
        at,
        again: false,
    })
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
