//! The scripts, and the calls that carry requests. `reply` parses their replies.

use std::fmt;

use arbiter_lock_core::{Contender, LONGEST_RUN_MS, Limit, Mode, Renewal, Request, Status};
use redis::{Cmd, RedisWrite};

use super::keys::Keys;
use crate::system::process::Lazy;

/// A script's source and its hash, by which the server knows it.
pub(super) struct Script {
    source: String,
    sha1: String,
}

/// A call of a script.
#[derive(Clone)]
pub(super) struct Call {
    script: &'static Script,
    by_hash: Cmd,
}

/// The capacity of a call, so that it is written without growing.
const TYPICAL_WORDS: usize = 12;
const TYPICAL_BYTES: usize = 512;

/// The mode of a request, as the scripts read it.
struct Kind(Mode);

/// The description of a contender after its id.
struct AttemptArgs<'a>(&'a Contender);

macro_rules! scripts {
    ($($name:ident = $($file:literal)+;)+) => {
        $(static $name: Lazy<Script> =
            Lazy::new(|| Script::new(concat!($(include_str!($file)),+)));)+

        #[cfg(test)]
        static ALL: &[&Lazy<Script>] = &[$(&$name),+];
    };
}

scripts! {
    ACQUIRE = "lua/lock.lua" "lua/time.lua" "lua/acquire_free.lua" "lua/acquire_held.lua"
        "lua/clock.lua" "lua/keep.lua" "lua/share.lua" "lua/queue.lua" "lua/acquire.lua"
        "lua/ttls.lua";
    END = "lua/lock.lua" "lua/end_alone.lua" "lua/time.lua" "lua/end_passed.lua" "lua/clock.lua"
        "lua/keep.lua" "lua/share.lua" "lua/queue.lua" "lua/end.lua" "lua/ttls.lua";
    BREAK = "lua/lock.lua" "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/break.lua" "lua/ttls.lua";
    DOWNGRADE = "lua/lock.lua" "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/downgrade.lua" "lua/ttls.lua";
    RESIZE = "lua/lock.lua" "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/share.lua"
        "lua/queue.lua" "lua/resize.lua" "lua/ttls.lua";
    RENEW = "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/renew.lua";
    TRANSFER = "lua/time.lua" "lua/clock.lua" "lua/keep.lua" "lua/transfer.lua";
    INSPECT = "lua/time.lua" "lua/clock.lua" "lua/inspect.lua";
    PROCLAIM = "lua/proclaim.lua";
    BEGIN_RUN = "lua/time.lua" "lua/begin_run.lua";
    FINISH_RUN = "lua/time.lua" "lua/finish_run.lua";
    FORGET_RUN = "lua/forget_run.lua";
    LAST_RUN = "lua/time.lua" "lua/last_run.lua";
    PROBE = "lua/probe.lua";
}

/// The pieces that replace a line `--+ name`. They are also in short paths, in which a function
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

impl Call {
    fn new(script: &'static Script, keys: &[&str]) -> Self {
        let mut by_hash = Cmd::with_capacity(TYPICAL_WORDS, TYPICAL_BYTES);
        by_hash.arg("EVALSHA").arg(&script.sha1).arg(keys.len());
        by_hash.arg(keys);
        Self { script, by_hash }
    }

    fn of_lock(script: &'static Script, keys: &Keys) -> Self {
        let keys = [&*keys.lock, &*keys.last_fence, &*keys.queue, &*keys.share];
        Self::new(script, &keys)
    }

    fn with(mut self, argument: impl fmt::Display) -> Self {
        self.by_hash.write_arg_fmt(argument);
        self
    }

    fn with_contender(self, contender: &Contender) -> Self {
        self.with(&contender.id)
            .with(contender.lease_ms)
            .with(&contender.channel)
            .with(&contender.label)
    }

    fn with_renewal(self, renewal: &Renewal) -> Self {
        self.with(&renewal.owner)
            .with(renewal.fence)
            .with(renewal.lease_ms)
    }

    /// Returns the call by the script's hash.
    pub(super) fn by_hash(&self) -> &Cmd {
        &self.by_hash
    }

    /// Returns the call with the script's source, for a server that does not know it.
    pub(super) fn by_source(&self) -> Cmd {
        let mut cmd = redis::cmd("EVAL");
        cmd.arg(&self.script.source);
        for word in self.by_hash.args_iter().skip(2) {
            if let redis::Arg::Simple(word) = word {
                cmd.arg(word);
            }
        }
        cmd
    }

    /// Returns how many waiters have been registered for the call itself.
    pub(super) fn own_waiters(&self) -> usize {
        usize::from(std::ptr::eq(self.script, &*ACQUIRE))
    }
}

/// Returns the call that carries a request.
pub(super) fn request(keys: &Keys, request: &Request) -> Call {
    match request {
        Request::Acquire { contender, ticket } => {
            let (kind, call) = (Kind(contender.mode), Call::of_lock(&ACQUIRE, keys));
            let call = match ticket {
                Some(ticket) => call.with(format_args!("wait {kind} {ticket}")),
                None => call.with(format_args!("wait {kind}")),
            };
            call.with_contender(contender)
        }
        Request::TryAcquire(contender) => Call::of_lock(&ACQUIRE, keys)
            .with(format_args!("try {}", Kind(contender.mode)))
            .with_contender(contender),
        Request::Renew(renewal) => renew([(keys, renewal)]),
        Request::End {
            contender,
            tombstone,
        } => {
            let call = Call::of_lock(&END, keys);
            let call = call.with(&contender.id).with(AttemptArgs(contender));
            if *tombstone { call.with(1) } else { call }
        }
        Request::Break { fence, at_once } => {
            let how = if *at_once { "now" } else { "ask" };
            Call::of_lock(&BREAK, keys).with(fence).with(how)
        }
        Request::BreakExternal { owner } => {
            Call::of_lock(&BREAK, keys).with(0).with("now").with(owner)
        }
        Request::Downgrade(renewal) => Call::of_lock(&DOWNGRADE, keys).with_renewal(renewal),
        Request::Transfer { owner, fence, to } => {
            Call::new(&TRANSFER, &[&keys.lock, &keys.queue, &keys.share])
                .with(owner)
                .with(fence)
                .with(&to.id)
                .with(AttemptArgs(to))
        }
        Request::Resize(limit) => Call::of_lock(&RESIZE, keys).with(limit),
        Request::Proclaim {
            owner,
            fence,
            value,
        } => Call::new(&PROCLAIM, &[&keys.lock])
            .with(owner)
            .with(fence)
            .with(value),
        Request::BeginRun {
            owner,
            fence,
            turn,
            memory_ms,
        } => Call::new(&BEGIN_RUN, &[&keys.lock, &keys.run()])
            .with(owner)
            .with(fence)
            .with(turn.as_micros())
            .with(memory_ms)
            .with(LONGEST_RUN_MS),
        Request::FinishRun { fence, outcome } => Call::new(&FINISH_RUN, &[&keys.run()])
            .with(fence)
            .with(outcome),
        Request::ForgetRun { fence } => Call::new(&FORGET_RUN, &[&keys.run()]).with(fence),
        Request::Inspect => Call::new(&INSPECT, &[&keys.lock, &keys.queue, &keys.share])
            .with(Status::MOST_WAITERS)
            .with(Status::MOST_SHARERS),
        Request::LastRun => Call::new(&LAST_RUN, &[&keys.run()]),
    }
}

/// Returns the call that renews holds.
pub(super) fn renew<'a>(
    renewals: impl IntoIterator<Item = (&'a Keys, &'a Renewal)> + Clone,
) -> Call {
    let keys = renewals.clone().into_iter();
    // While a slot of a cluster moves, only a call with one key works.
    let keys = keys.flat_map(|(keys, renewal)| match renewal.may_share {
        true => [keys.lock.as_str(), keys.share.as_str()],
        false => [keys.lock.as_str(), keys.lock.as_str()],
    });
    let keys: Vec<&str> = keys.collect();
    let renewals = renewals.into_iter().map(|(_, renewal)| renewal);
    renewals.fold(Call::new(&RENEW, &keys), Call::with_renewal)
}

/// Returns a call that changes nothing, and fails if the others would.
pub(super) fn probe(key: &str) -> Call {
    Call::new(&PROBE, &[key])
}

impl fmt::Display for AttemptArgs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contender {
            mode,
            lease_ms,
            channel,
            label,
            ..
        } = self.0;
        write!(f, "{lease_ms} {} {channel} {label}", Kind(*mode))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns the commands that a script fails without.
    fn commands(script: &Script) -> BTreeSet<&str> {
        let calls = script.source.split("call('").skip(1);
        calls.filter_map(|call| call.split('\'').next()).collect()
    }

    #[test]
    fn probe_checks_exactly_the_commands_scripts_need() {
        let scripts = ALL.iter().filter(|script| !std::ptr::eq(**script, &PROBE));
        let mut needed: BTreeSet<&str> = scripts.flat_map(|script| commands(script)).collect();
        for without in ["HSET", "PUBSUB", "CLUSTER"] {
            assert!(needed.remove(without), "{without}");
        }
        assert_eq!(commands(&PROBE), needed);
    }
}
