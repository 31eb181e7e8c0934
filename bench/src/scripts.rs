//! Scripts that are sent without a library: two of Arbiter, assembled as the library does, those of
//! the Go library, and the compare-and-delete.

use std::sync::LazyLock;

use redis::Cmd;

use testkit::{GoLock, companion};

macro_rules! lua {
    ($file:literal) => {
        include_str!(concat!(
            "../../crates/arbiter-lock/src/store/redis/lua/",
            $file
        ))
    };
}

macro_rules! ours {
    ($($file:literal)+) => {
        LazyLock::new(|| {
            let source = concat!($(lua!($file)),+)
                .replace("--+ fence\n", lua!("fence.lua"))
                .replace("--+ alone\n", lua!("alone.lua"));
            Script::new(&source)
        })
    };
}

pub(crate) static ACQUIRE: LazyLock<Script> = ours!(
    "lock.lua" "time.lua" "acquire_free.lua" "acquire_held.lua" "clock.lua" "keep.lua" "share.lua"
    "queue.lua" "acquire.lua"
);
pub(crate) static END: LazyLock<Script> = ours!(
    "lock.lua" "end_alone.lua" "time.lua" "end_passed.lua" "clock.lua" "keep.lua" "share.lua"
    "queue.lua" "end.lua"
);
pub(crate) static GO_TRY_LOCK: LazyLock<Script> = LazyLock::new(|| Script::new(GoLock::TRY));
pub(crate) static GO_UNLOCK: LazyLock<Script> = LazyLock::new(|| Script::new(GoLock::UNLOCK));
pub(crate) static COMPARE_AND_DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
    )
});

/// A script's source and its hash, by which the server knows it.
pub(crate) struct Script {
    source: String,
    pub(crate) sha1: String,
}

impl Script {
    fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            sha1: redis::Script::new(source).get_hash().to_owned(),
        }
    }

    /// Loads it into the server.
    pub(crate) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(&self.source);
        load
    }

    pub(crate) fn call(&self, keys: &[&str], args: &[&str]) -> Cmd {
        let mut call = Cmd::with_capacity(3 + keys.len() + args.len(), 512);
        call.arg("EVALSHA").arg(&self.sha1).arg(keys.len());
        for word in keys.iter().chain(args) {
            call.arg(*word);
        }
        call
    }
}

/// The keys of one name.
pub(crate) struct Keys([String; 4]);

impl Keys {
    pub(crate) fn new(name: &str) -> Self {
        let lock = format!("arbiter:{name}");
        let [last, queue, share] = ["last", "queue", "share"].map(|kind| companion(&lock, kind));
        Self([lock, last, queue, share])
    }

    fn words(&self) -> [&str; 4] {
        self.0.each_ref().map(String::as_str)
    }
}

/// A request for one holder, on a lease of 30 s.
pub(crate) struct Request {
    pub(crate) id: String,
    channel: String,
}

const LEASE_MS: &str = "30000";
const LABEL: &str = "host-1 1234567 bench ";

impl Request {
    /// Creates a request that is notified of its grant on that channel.
    pub(crate) fn on(channel: &str) -> Self {
        Self {
            id: fresh_id(),
            channel: channel.to_owned(),
        }
    }

    pub(crate) fn acquire(&self, keys: &Keys) -> Cmd {
        let args = ["wait x", &self.id, LEASE_MS, &self.channel, LABEL];
        ACQUIRE.call(&keys.words(), &args)
    }

    pub(crate) fn end(&self, keys: &Keys) -> Cmd {
        let rest = format!("{LEASE_MS} x {} {LABEL}", self.channel);
        END.call(&keys.words(), &[&self.id, &rest])
    }
}

/// Returns 128 random bits.
pub(crate) fn fresh_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
