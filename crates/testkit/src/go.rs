//! A stand-in for the Go library. It has its operations as plain scripts on the field `owner`, and
//! its polling at a fixed interval.

use std::time::{Duration, Instant};

use crate::names::unique_name;
use crate::server::Server;

/// The poll interval of the Go library.
const POLL: Duration = Duration::from_millis(100);

/// A lock object of the Go library, with the same requests.
#[derive(Debug)]
pub struct GoLock<'a> {
    server: &'a Server,
    key: String,
    owner: String,
    lease: Duration,
}

impl<'a> GoLock<'a> {
    /// The script of `TryLock`: the key, the owner and the lease in ms.
    pub const TRY: &'static str = "if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then \
    redis.call('HSET', KEYS[1], 'owner', ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end return 0";
    /// The script of `Unlock`: the key and the owner.
    pub const UNLOCK: &'static str = "if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
    const REFRESH: &'static str = "if redis.call('HGET', KEYS[1], 'owner') == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";

    /// Creates a lock object with a new owner.
    #[must_use]
    pub fn new(server: &'a Server, name: &str, lease: Duration) -> Self {
        Self {
            server,
            key: format!("arbiter:{name}"),
            owner: unique_name(),
            lease,
        }
    }

    /// Calls `TryLock`.
    #[must_use]
    pub fn try_lock(&self) -> bool {
        self.eval(Self::TRY)
    }

    /// Calls `Lock` with a wait timeout.
    #[must_use]
    pub fn lock(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while !self.try_lock() {
            if limit < begun.elapsed() {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// Calls `Unlock`.
    #[must_use]
    pub fn unlock(&self) -> bool {
        self.eval(Self::UNLOCK)
    }

    /// Calls `Refresh`.
    #[must_use]
    pub fn refresh(&self) -> bool {
        self.eval(Self::REFRESH)
    }

    fn eval(&self, script: &str) -> bool {
        let lease = self.lease.as_millis().to_string();
        self.server
            .call(&["EVAL", script, "1", &self.key, &self.owner, &lease])
            .int()
            == Some(1)
    }
}
