//! The scripts: for each one function that makes the call. `reply` reads what it answers.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use arbiter_lock_core::{Limit, Mode, Request, Status};
use redis::Cmd;

use super::keys::Keys;
use crate::store::{Renewal, Write};

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

pub(super) fn write<'a>(keys: &'a Keys, write: &'a Write) -> Call<'a> {
    match write {
        Write::Proclaim {
            owner,
            fence,
            value,
        } => Call {
            script: &PROCLAIM,
            keys: vec![(&keys.lock).into()],
            args: vec![Arg::Text(owner), Arg::Number(*fence), Arg::Text(value)],
        },
        Write::BeginRun {
            owner,
            fence,
            keep_ms,
        } => Call {
            script: &BEGIN_RUN,
            keys: vec![(&keys.lock).into(), keys.run().into()],
            args: vec![Arg::Text(owner), Arg::Number(*fence), Arg::Number(*keep_ms)],
        },
        Write::FinishRun {
            fence,
            outcome,
            keep_ms,
        } => Call {
            script: &FINISH_RUN,
            keys: vec![keys.run().into()],
            args: vec![
                Arg::Number(*fence),
                Arg::Text(outcome),
                Arg::Number(*keep_ms),
            ],
        },
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
