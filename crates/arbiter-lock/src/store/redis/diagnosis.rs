//! The checks of a server's settings that matter to its locks.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use arbiter_lock_core::Lease;
use redis::{Cmd, Value};

use super::introduction::{field, text};
use crate::printable::Printable;
use crate::store::diagnosis::Check;
use crate::store::{Failure, FailureKind, KeyPrefix};

/// How many times the round trip is measured.
const PINGS: usize = 16;
/// For how long the server's clock is compared with the local one.
const CLOCK_WATCHED: Duration = Duration::from_millis(300);
/// How much a clock may differ before that is reported.
const MOST_OFFSET: Duration = Duration::from_secs(1);
/// How long a failover takes beyond the time after which a master counts as dead.
const FAILOVER: Duration = Duration::from_secs(2);
/// How much later than the lag of a replica a master may count as dead.
const BEYOND_LAG: Duration = Duration::from_secs(2);

/// The reports of a server.
#[derive(Default)]
pub(super) struct Facts {
    mode: String,
    role: String,
    version: String,
    /// Empty if the server denies it.
    info: HashMap<String, String>,
    /// Empty if the server denies it.
    config: HashMap<String, String>,
    round_trips: Vec<Duration>,
    /// How far the server's clock is ahead of the local one, in seconds.
    ahead: f64,
    /// How much faster than the local clock it ran.
    rate: f64,
    may_scan: bool,
}

/// The topology: how the server is watched, and replaced if it fails.
pub(super) enum Watched {
    /// Nothing replaces it.
    Not,
    /// The sentinels, with the time after which a master counts as dead to them.
    BySentinels {
        down_after: Option<Duration>,
        heard: usize,
        known: usize,
    },
    /// The other nodes of its cluster.
    ByCluster,
}

/// Checks the reply to the question how many listen on this client's channel.
pub(super) fn notifications(reply: &Result<Value, Failure>, prefix: &KeyPrefix) -> Check {
    let name = "notifications";
    let fix = format!(
        "allow +subscribe, +publish and +pubsub, or on a cluster +ssubscribe, +spublish and \
         +pubsub|shardnumsub, on the channels &{}*",
        Printable(prefix.as_str())
    );
    let count = match reply {
        Ok(Value::Array(parts)) => parts.get(1).and_then(text),
        Ok(Value::Map(pairs)) => pairs.first().and_then(|(_, count)| text(count)),
        _ => None,
    };
    match (count.as_deref(), reply) {
        (Some("0"), _) => Check::warning(
            name,
            "this client may not subscribe: its waiters poll once a second",
            fix,
        ),
        (Some(_), _) => Check::ok(name, "grants arrive as messages"),
        (None, Err(failure)) => Check::warning(name, format!("not known: it {failure}"), fix),
        (None, Ok(_)) => Check::warning(name, "not known: unexpected answer", fix),
    }
}

impl Facts {
    /// Asks a server, by a function that sends a command.
    pub(super) async fn ask<F>(send: impl Fn(Cmd) -> F) -> Result<Self, Failure>
    where
        F: Future<Output = Result<Value, Failure>>,
    {
        let mut facts = Self::default();
        let first = Self::time(&send).await?;
        let hello = send(redis::cmd("HELLO")).await.unwrap_or(Value::Nil);
        facts.mode = field(&hello, "mode").unwrap_or_default();
        facts.role = field(&hello, "role").unwrap_or_default();
        let mut info = redis::cmd("INFO");
        info.arg("everything");
        let info = send(info).await.ok().as_ref().and_then(text);
        for line in info.unwrap_or_default().lines() {
            if let Some((name, value)) = line.split_once(':') {
                facts.info.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        let named = ["valkey_version", "redis_version"].map(|name| facts.info.get(name));
        let named = named.into_iter().flatten().next().cloned();
        facts.version = named
            .or_else(|| field(&hello, "version"))
            .unwrap_or_default();
        for name in [
            "maxmemory",
            "maxmemory-policy",
            "appendonly",
            "save",
            "min-replicas-max-lag",
            "cluster-node-timeout",
        ] {
            let mut get = redis::cmd("CONFIG");
            get.arg("GET").arg(name);
            let value = send(get).await.ok().and_then(|value| field(&value, name));
            facts
                .config
                .extend(value.map(|value| (name.to_owned(), value)));
        }
        for _ in 0..PINGS {
            let begun = Instant::now();
            // An error is an answer.
            let _ = send(redis::cmd("PING")).await;
            facts.round_trips.push(begun.elapsed());
        }
        facts.round_trips.sort_unstable();
        let mut scan = redis::cmd("SCAN");
        scan.arg(0).arg("COUNT").arg(1);
        facts.may_scan = send(scan).await.is_ok();
        tokio::time::sleep(CLOCK_WATCHED).await;
        let last = Self::time(&send).await?;
        let passed = last.0.duration_since(first.0).as_secs_f64();
        facts.ahead = last.2;
        facts.rate = (last.1 - first.1) / passed - 1.0;
        Ok(facts)
    }

    /// Returns the local time, the server's time in seconds, and how far that is ahead.
    async fn time<F>(send: &impl Fn(Cmd) -> F) -> Result<(Instant, f64, f64), Failure>
    where
        F: Future<Output = Result<Value, Failure>>,
    {
        let begun = Instant::now();
        let time = send(redis::cmd("TIME")).await?;
        let middle = begun + begun.elapsed() / 2;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let local = since.unwrap_or_default() - middle.elapsed();
        let malformed = || Failure::before_sending(FailureKind::Malformed, "no time");
        let Value::Array(parts) = &time else {
            return Err(malformed());
        };
        let number = |n: usize| parts.get(n).and_then(text)?.parse::<f64>().ok();
        let server = number(0).zip(number(1)).ok_or_else(malformed)?;
        let server = server.0 + server.1 / 1e6;
        Ok((middle, server, server - local.as_secs_f64()))
    }

    fn info(&self, name: &str) -> &str {
        self.info.get(name).map(String::as_str).unwrap_or_default()
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }

    fn config_number(&self, name: &str) -> Option<u64> {
        self.config(name)?.parse().ok()
    }

    /// Returns the check of something that the user may not ask for.
    fn not_known(name: &'static str) -> Check {
        Check::warning(
            name,
            "not known: this user may not ask for INFO",
            "allow +info",
        )
    }

    /// Returns the checks of the server, for holds with that lease.
    pub(super) fn checks(&self, lease: Duration, watched: &Watched) -> Vec<Check> {
        let mut checks = vec![self.mode(watched), self.memory(), self.persistence()];
        checks.extend(self.replication(watched));
        checks.extend(self.failover(lease, watched));
        checks.extend([self.clock(), self.latency(lease), self.rights()]);
        checks
    }

    fn mode(&self, watched: &Watched) -> Check {
        let product = match self.info.contains_key("valkey_version") {
            true => "Valkey",
            false => "Redis",
        };
        let found = format!("{product} {}, {} {}", self.version, self.mode, self.role);
        let replicas = self.info("connected_slaves").parse().unwrap_or(0);
        if matches!(watched, Watched::Not) && 0 < replicas {
            return Check::warning(
                "mode",
                format!(
                    "{found}: it has {replicas} replicas, and this URL names one server: after a \
                     failover clients of both servers would hold the same lock"
                ),
                "name the group: redis+sentinel://HOST,HOST,HOST/SERVICE",
            );
        }
        Check::ok("mode", found)
    }

    fn memory(&self) -> Check {
        let name = "memory";
        let known = |of_config: &str, of_info: &str| {
            let of_info = self.info.get(of_info).map(String::as_str);
            self.config(of_config).or(of_info)
        };
        let fix = "set maxmemory-policy noeviction: CONFIG SET maxmemory-policy noeviction";
        let policy = known("maxmemory-policy", "maxmemory_policy");
        match (policy, known("maxmemory", "maxmemory")) {
            (None, _) => Self::not_known(name),
            (Some(policy @ ("" | "noeviction")), _) => Check::ok(name, format!("policy {policy}")),
            (Some(policy), None | Some("0" | "")) => Check::warning(
                name,
                format!("there is no memory limit, but with one the policy {policy} evicts locks"),
                fix,
            ),
            (Some(policy), Some(limit)) => Check::failure(
                name,
                format!("at the memory limit of {limit} bytes the policy {policy} evicts locks"),
                fix,
            ),
        }
    }

    fn persistence(&self) -> Check {
        let name = "persistence";
        let fix = "set appendonly yes";
        let is_appended = match (self.config("appendonly"), self.info("aof_enabled")) {
            (None, "") => return Self::not_known(name),
            (of_config, of_info) => of_config == Some("yes") || of_info == "1",
        };
        let is_saved = self.config("save").is_none_or(|save| !save.is_empty());
        match (is_appended, is_saved) {
            (true, _) => Check::ok(name, "append-only file"),
            (false, true) => Check::warning(
                name,
                "snapshots: after a crash the latest locks, runs of jobs and fences are forgotten",
                fix,
            ),
            (false, false) => Check::warning(
                name,
                "none: after a restart all locks, runs of jobs and fences are forgotten",
                fix,
            ),
        }
    }

    fn replication(&self, watched: &Watched) -> Option<Check> {
        if matches!(watched, Watched::Not) {
            return None;
        }
        let name = "replication";
        let replicas = self.info("connected_slaves");
        if replicas.is_empty() {
            return Some(Self::not_known(name));
        }
        if replicas == "0" {
            let message = "the master has no replica: nothing can replace it";
            return Some(Check::warning(name, message, "add a replica"));
        }
        if self.info("min_slaves_good_slaves").is_empty() {
            return Some(Check::warning(
                name,
                "a master that is cut off accepts writes until it is demoted",
                "set min-replicas-to-write 1 and min-replicas-max-lag 1 on all servers",
            ));
        }
        let lag = self
            .config_number("min-replicas-max-lag")
            .map(Duration::from_secs);
        let down_after = match watched {
            Watched::BySentinels { down_after, .. } => *down_after,
            _ => None,
        };
        if let (Some(lag), Some(down_after)) = (lag, down_after)
            && down_after < lag + BEYOND_LAG
        {
            return Some(Check::warning(
                name,
                format!(
                    "a replica may be promoted {down_after:?} after the last answer of the master, \
                     while the master accepts writes for {lag:?} after its last replica"
                ),
                format!(
                    "set down-after-milliseconds to {} or more",
                    (lag + BEYOND_LAG).as_millis()
                ),
            ));
        }
        Some(Check::ok(
            name,
            format!("{replicas} replicas, and writes need one"),
        ))
    }

    /// Checks whether a hold with that lease survives a failover.
    fn failover(&self, lease: Duration, watched: &Watched) -> Vec<Check> {
        let mut checks = Vec::new();
        let down_after = match watched {
            Watched::Not => return checks,
            Watched::BySentinels {
                down_after,
                heard,
                known,
            } => {
                let found = format!("{heard} of {known} sentinels answer");
                checks.push(if heard < known {
                    Check::warning("sentinels", found, "start or reach the others")
                } else if *known < 3 {
                    Check::warning("sentinels", found, "run at least three")
                } else {
                    Check::ok("sentinels", found)
                });
                *down_after
            }
            Watched::ByCluster => {
                let timeout = self.config_number("cluster-node-timeout");
                timeout.map(Duration::from_millis)
            }
        };
        let Some(down_after) = down_after else {
            return checks;
        };
        let lasts = down_after + FAILOVER;
        // A renewal is due after a third of the lease.
        let survives = (lease * 2 / 3).saturating_sub(Lease::default_margin(lease));
        let found = format!("a failover takes about {lasts:?}");
        checks.push(if survives <= lasts {
            let shortest = (lasts + Duration::from_millis(500)) * 3 / 2;
            Check::warning(
                "failover",
                format!("{found}, and a hold with a lease of {lease:?} may be lost meanwhile"),
                format!("use a lease of {} s or more", shortest.as_secs() + 1),
            )
        } else {
            Check::ok(
                "failover",
                format!("{found}: a lease of {lease:?} survives it"),
            )
        });
        checks
    }

    fn clock(&self) -> Check {
        let round_trip = self.round_trips.last().copied().unwrap_or_default();
        let error = round_trip.as_secs_f64() / CLOCK_WATCHED.as_secs_f64();
        if 0.02 + error < self.rate.abs() {
            return Check::failure(
                "clock",
                format!(
                    "the server's clock ran {:+.0} % off, or was set",
                    self.rate * 100.0
                ),
                "let NTP slew the clock, not step it",
            );
        }
        let message = format!("{:+.3} s off the local clock", self.ahead);
        if MOST_OFFSET.as_secs_f64() < self.ahead.abs() {
            let fix = "synchronize both clocks with NTP: the ages of locks are shown wrong";
            return Check::warning("clock", message, fix);
        }
        Check::ok("clock", message)
    }

    fn latency(&self, lease: Duration) -> Check {
        let median = self.round_trips.get(self.round_trips.len() / 2);
        let (median, worst) = (median.copied(), self.round_trips.last().copied());
        let (median, worst) = (median.unwrap_or_default(), worst.unwrap_or_default());
        let found = format!("round trip {median:.1?}, at most {worst:.1?} of {PINGS}");
        if lease / 10 < worst {
            let fix = "use a longer lease, or a closer server";
            return Check::warning("latency", format!("{found}, for a lease of {lease:?}"), fix);
        }
        Check::ok("latency", found)
    }

    fn rights(&self) -> Check {
        let name = "rights";
        let problems = [
            (!self.may_scan).then_some(("SCAN, so lists fail", "+scan")),
            self.info
                .is_empty()
                .then_some(("INFO, so replicas of the server are not seen", "+info")),
        ];
        let (denied, fixes): (Vec<_>, Vec<_>) = problems.into_iter().flatten().unzip();
        match denied.is_empty() {
            true => Check::ok(name, "all that locks, lists and these checks need"),
            false => Check::warning(
                name,
                format!("this user may not ask for {}", denied.join(", nor for ")),
                format!("allow {}", fixes.join(" and ")),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
