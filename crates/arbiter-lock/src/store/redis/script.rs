//! The scripts: for each one function that makes the call. `reply` reads what it answers.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use arbiter_lock_core::{Limit, Mode, Request, Status};
use redis::{Cmd, RedisWrite};

use super::keys::Keys;
use crate::store::{Renewal, Write};

/// A script's source and its hash, by which the server knows it.
pub(super) struct Script {
    source: String,
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
    /// An acquire in that mode, with its ticket.
    Wait(Mode, Option<u64>),
    /// A try in that mode.
    Try(Mode),
    /// What a request says of itself after its id.
    Rest(&'a Request),
}

/// How a request wants to hold, as the scripts read it.
struct Kind(Mode);

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)+
    };
}

scripts! {
    ACQUIRE = "lua/lock.lua" "lua/time.lua" "lua/acquire_free.lua" "lua/acquire_held.lua"
        "lua/clock.lua" "lua/keep.lua" "lua/share.lua" "lua/queue.lua" "lua/acquire.lua";
    END = "lua/lock.lua" "lua/end_alone.lua" "lua/time.lua" "lua/end_passed.lua" "lua/clock.lua"
        "lua/keep.lua" "lua/share.lua" "lua/queue.lua" "lua/end.lua";
    BREAK = "lua/lock.lua" "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/break.lua";
    DOWNGRADE = "lua/lock.lua" "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/downgrade.lua";
    RESIZE = "lua/lock.lua" "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/resize.lua";
    RENEW = "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/renew.lua";
    INSPECT = "lua/time.lua" "lua/clock.lua" "lua/inspect.lua";
    PROCLAIM = "lua/proclaim.lua";
    BEGIN_RUN = "lua/time.lua" "lua/begin_run.lua";
    FINISH_RUN = "lua/time.lua" "lua/finish_run.lua";
    LAST_RUN = "lua/time.lua" "lua/last_run.lua";
    PROBE = "lua/probe.lua";
}

/// What a line `--+ name` stands for: pieces that stand in a short path too, where a function
/// would cost too much.
const PIECES: [(&str, &str); 2] = [
    ("--+ fence\n", include_str!("lua/fence.lua")),
    ("--+ alone\n", include_str!("lua/alone.lua")),
];

impl Script {
    fn new(source: &str) -> Self {
        let pieces = PIECES.iter();
        let source = pieces.fold(source.to_owned(), |source, (line, piece)| {
            source.replace(line, piece)
        });
        Self {
            sha1: redis::Script::new(&source).get_hash().to_owned(),
            source,
        }
    }
}

impl Call<'_> {
    /// How many waiters have been registered for the call itself.
    pub(super) fn own_waiters(&self) -> usize {
        usize::from(std::ptr::eq(self.script, &*ACQUIRE))
    }

    /// The call by the script's hash.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.sha1)
    }

    /// The call with the script's source, for a server that does not know it.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", &self.script.source)
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let words = 3 + self.keys.len() + self.args.len();
        let mut cmd = Cmd::with_capacity(words, TYPICAL_BYTES + script.len());
        cmd.arg(verb).arg(script).arg(self.keys.len());
        for key in &self.keys {
            cmd.arg(&**key);
        }
        for arg in &self.args {
            cmd.write_arg_fmt(arg);
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
    of_lock(
        &ACQUIRE,
        keys,
        asked(Arg::Wait(request.mode, ticket), request),
    )
}

pub(super) fn try_acquire<'a>(keys: &'a Keys, request: &'a Request) -> Call<'a> {
    of_lock(&ACQUIRE, keys, asked(Arg::Try(request.mode), request))
}

pub(super) fn end<'a>(keys: &'a Keys, request: &'a Request, tombstone: bool) -> Call<'a> {
    let mut args = vec![Arg::Text(&request.id), Arg::Rest(request)];
    args.extend(tombstone.then_some(Arg::Text("1")));
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

fn asked<'a>(how: Arg<'a>, request: &'a Request) -> Vec<Arg<'a>> {
    vec![
        how,
        Arg::Text(&request.id),
        Arg::Number(request.lease_ms),
        Arg::Text(&request.channel),
        Arg::Text(&request.label),
    ]
}

impl fmt::Display for Arg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Wait(mode, None) => write!(f, "wait {}", Kind(mode)),
            Self::Wait(mode, Some(ticket)) => write!(f, "wait {} {ticket}", Kind(mode)),
            Self::Try(mode) => write!(f, "try {}", Kind(mode)),
            Self::Rest(request) => {
                let (kind, lease) = (Kind(request.mode), request.lease_ms);
                write!(f, "{lease} {kind} {} {}", request.channel, request.label)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Mode::Exclusive => f.write_str("x"),
            Mode::Shared { weight, limit } => match limit {
                Limit::Unlimited => write!(f, "s{weight}"),
                Limit::Stated(limit) => write!(f, "s{weight}/{limit}"),
                Limit::Followed(limit) => write!(f, "s{weight}~{limit}"),
            },
        }
    }
}
