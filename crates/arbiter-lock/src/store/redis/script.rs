//! The scripts: for each one function that makes the call, and one that reads its answer.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use arbiter_lock_core::{
    Acquired, Broken, Downgraded, Ended, HolderView, Limit, Mode, Moment, Refusal, Renewed,
    Request, Resized, Run, SharerView, SharingView, Status, Tried, WaiterView, Written,
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
    keys: Vec<Cow<'a, str>>,
    args: Vec<Arg<'a>>,
}

/// What keys and arguments take, so that a call is written without growing.
const TYPICAL_BYTES: usize = 512;

enum Arg<'a> {
    Text(&'a str),
    Number(u64),
    Kind(Mode),
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)+
    };
}

scripts! {
    ACQUIRE = "lua/lock.lua" "lua/clock.lua" "lua/hold.lua" "lua/acquire_free.lua" "lua/keep.lua"
        "lua/share.lua" "lua/queue.lua" "lua/acquire.lua";
    END = "lua/lock.lua" "lua/end_alone.lua" "lua/clock.lua" "lua/hold.lua" "lua/keep.lua"
        "lua/share.lua" "lua/queue.lua" "lua/end.lua";
    BREAK = "lua/lock.lua" "lua/clock.lua" "lua/hold.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/break.lua";
    DOWNGRADE = "lua/lock.lua" "lua/clock.lua" "lua/hold.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/downgrade.lua";
    RESIZE = "lua/lock.lua" "lua/clock.lua" "lua/hold.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/resize.lua";
    RENEW = "lua/clock.lua" "lua/keep.lua" "lua/renew.lua";
    INSPECT = "lua/clock.lua" "lua/inspect.lua";
    PROCLAIM = "lua/proclaim.lua";
    BEGIN_RUN = "lua/clock.lua" "lua/begin_run.lua";
    FINISH_RUN = "lua/clock.lua" "lua/finish_run.lua";
    LAST_RUN = "lua/clock.lua" "lua/last_run.lua";
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
        let words = 3 + self.keys.len() + self.args.len();
        let mut cmd = Cmd::with_capacity(words, TYPICAL_BYTES + script.len());
        cmd.arg(verb).arg(script).arg(self.keys.len());
        for key in &self.keys {
            cmd.arg(&**key);
        }
        for arg in &self.args {
            match arg {
                Arg::Text(text) => cmd.arg(*text),
                Arg::Number(number) => cmd.arg(*number),
                Arg::Kind(mode) => cmd.arg(&*kind(*mode)),
            };
        }
        cmd
    }
}

fn of_lock<'a>(script: &'static Script, keys: &'a Keys, args: Vec<Arg<'a>>) -> Call<'a> {
    Call {
        script,
        keys: vec![
            (&keys.lock).into(),
            (&keys.last_fence).into(),
            (&keys.queue).into(),
            (&keys.share).into(),
        ],
        args,
    }
}

pub(super) fn acquire<'a>(keys: &'a Keys, request: &'a Request, ticket: Option<u64>) -> Call<'a> {
    let ticket = ticket.map_or(Arg::Text(""), Arg::Number);
    let mut args = vec![Arg::Text("wait"), ticket];
    args.extend(body(request));
    of_lock(&ACQUIRE, keys, args)
}

pub(super) fn try_acquire<'a>(keys: &'a Keys, request: &'a Request) -> Call<'a> {
    let mut args = vec![Arg::Text("try"), Arg::Text("")];
    args.extend(body(request));
    of_lock(&ACQUIRE, keys, args)
}

pub(super) fn end<'a>(keys: &'a Keys, request: &'a Request, tombstone: bool) -> Call<'a> {
    let mut args = Vec::from(body(request));
    args.push(Arg::Text(if tombstone { "1" } else { "" }));
    of_lock(&END, keys, args)
}

pub(super) fn break_hold(keys: &Keys, fence: u64, at_once: bool) -> Call<'_> {
    let how = Arg::Text(if at_once { "now" } else { "ask" });
    of_lock(&BREAK, keys, vec![Arg::Number(fence), how])
}

pub(super) fn renew<'a>(keys: &'a [Keys], renewals: &[Renewal<'a>]) -> Call<'a> {
    let of_one = |keys: &'a Keys| [(&keys.lock).into(), (&keys.share).into()];
    let keys = keys.iter().flat_map(of_one).collect();
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
        keys: vec![
            (&keys.lock).into(),
            (&keys.queue).into(),
            (&keys.share).into(),
        ],
        args: vec![most, Arg::Number(Status::MOST_SHARERS as u64)],
    }
}

pub(super) fn downgrade<'a>(keys: &'a Keys, renewal: &Renewal<'a>) -> Call<'a> {
    let Renewal {
        owner,
        fence,
        lease_ms,
        ..
    } = *renewal;
    let args = vec![Arg::Text(owner), Arg::Number(fence), Arg::Number(lease_ms)];
    of_lock(&DOWNGRADE, keys, args)
}

pub(super) fn resize(keys: &Keys, limit: NonZeroU32) -> Call<'_> {
    of_lock(&RESIZE, keys, vec![Arg::Number(limit.get().into())])
}

pub(super) fn proclaim<'a>(keys: &'a Keys, owner: &'a str, fence: u64, value: &'a str) -> Call<'a> {
    Call {
        script: &PROCLAIM,
        keys: vec![(&keys.lock).into()],
        args: vec![Arg::Text(owner), Arg::Number(fence), Arg::Text(value)],
    }
}

pub(super) fn begin_run<'a>(keys: &'a Keys, owner: &'a str, fence: u64, keep_ms: u64) -> Call<'a> {
    Call {
        script: &BEGIN_RUN,
        keys: vec![(&keys.lock).into(), keys.run().into()],
        args: vec![Arg::Text(owner), Arg::Number(fence), Arg::Number(keep_ms)],
    }
}

pub(super) fn finish_run<'a>(
    keys: &'a Keys,
    fence: u64,
    outcome: &'a str,
    keep_ms: u64,
) -> Call<'a> {
    Call {
        script: &FINISH_RUN,
        keys: vec![keys.run().into()],
        args: vec![Arg::Number(fence), Arg::Text(outcome), Arg::Number(keep_ms)],
    }
}

pub(super) fn last_run(keys: &Keys) -> Call<'_> {
    Call {
        script: &LAST_RUN,
        keys: vec![keys.run().into()],
        args: Vec::new(),
    }
}

/// A call that changes nothing, and fails where the others would.
pub(super) fn probe() -> Call<'static> {
    Call {
        script: &PROBE,
        keys: vec!["arbiter.probe".into()],
        args: Vec::new(),
    }
}

fn body(request: &Request) -> [Arg<'_>; 5] {
    [
        Arg::Text(&request.id),
        Arg::Number(request.lease_ms),
        Arg::Kind(request.mode),
        Arg::Text(&request.channel),
        Arg::Text(&request.label),
    ]
}

/// How a request wants to hold, as the scripts read it.
fn kind(mode: Mode) -> Cow<'static, str> {
    match mode {
        Mode::Exclusive => "x".into(),
        Mode::Shared { weight, limit } => match limit {
            Limit::Unlimited => format!("s{weight}").into(),
            Limit::Stated(limit) => format!("s{weight}/{limit}").into(),
            Limit::Followed(limit) => format!("s{weight}~{limit}").into(),
        },
    }
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
        "refused" => (Acquired::Refused(refusal(&mut answer)?), false),
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
        "refused" => (Tried::Refused(refusal(&mut answer)?), false),
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

pub(super) fn downgraded(value: Value) -> Result<Said<Downgraded>, Failure> {
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
    Ok(Said { reply, at, again })
}

pub(super) fn resized(value: Value) -> Result<Said<Resized>, Failure> {
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
    Ok(Said { reply, at, again })
}

pub(super) fn written(value: Value) -> Result<Written, Failure> {
    match Answer::new(value)?.word()?.as_str() {
        "written" => Ok(Written::Written),
        "not-yours" => Ok(Written::NotYours),
        other => Err(malformed(other)),
    }
}

pub(super) fn ran(value: Value) -> Result<Said<Option<Run>>, Failure> {
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
    Ok(Said {
        reply,
        at,
        again: false,
    })
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
    let value = answer.text()?.strip_prefix('=').map(Into::into);
    let sharing = sharing(&mut answer)?;
    let mut waiters = Vec::new();
    while !answer.is_empty() && waiters.len() < Status::MOST_WAITERS {
        let ticket = answer.number()?;
        let body = answer.text()?;
        let label = body.splitn(5, ' ').nth(4).unwrap_or_default().into();
        waiters.push(WaiterView { ticket, label });
    }
    Ok(Said {
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
