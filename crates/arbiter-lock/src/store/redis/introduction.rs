//! The kind of a dialed server: a single server, a Sentinel, or a node of a cluster.

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use super::dial::Line;
use super::failure::failure_of;
use super::target::Target;
use crate::store::{Failure, FailureKind};

/// Queries the kind of the server, refuses one that does not match the URL, selects the database,
/// and names the connection, which needs no right.
///
/// On a cluster some names would work by chance, and a Sentinel keeps no locks.
pub(super) async fn introduce(
    line: &mut Line,
    target: &Target,
    name: &str,
) -> Result<Role, Failure> {
    let mut first = redis::pipe();
    first.cmd("HELLO").arg(3).arg("SETNAME").arg(name);
    // A Sentinel and a node of a cluster refuse it, so it counts after the kind.
    if target.database != 0 {
        first.cmd("SELECT").arg(target.database);
    }
    let count = first.len();
    let answers = line.connection.send_packed_commands(&first, 0, count).await;
    let answers = answers.map_err(|e| before_use(&e))?;
    let mut answers = answers.into_iter().map(Value::extract_error);
    let hello = answers.next().unwrap_or(Ok(Value::Nil));
    let selected = answers.next().unwrap_or(Ok(Value::Nil));
    let role = match hello {
        Ok(hello) => role(&hello, line, target).await?,
        // A server that does not know the command is not queried further.
        Err(e) if e.code().is_some() => Role::Unknown,
        Err(e) => return Err(before_use(&e)),
    };
    selected.map_err(|e| before_use(&e))?;
    Ok(role)
}

/// Returns the role of a server in its answer to `HELLO`, or the failure of one that keeps no locks.
async fn role(hello: &Value, line: &mut Line, target: &Target) -> Result<Role, Failure> {
    match field(hello, "mode").as_deref() {
        Some("cluster") => Err(refused(format!(
            "it is a node of a cluster, where only some names would work; a cluster's URL, \
             {}, is not supported yet: use a server that is not in cluster mode",
            target.place.url("+cluster")
        ))),
        Some("sentinel") => {
            let masters = masters(&mut line.connection).await?;
            let urls = sentinel_urls(target, &masters);
            Err(refused(format!(
                "it is a Sentinel, which keeps no locks itself: use {urls}"
            )))
        }
        _ => Ok(match field(hello, "role").as_deref() {
            Some("master") => Role::Master,
            Some(_) => Role::Replica,
            None => Role::Unknown,
        }),
    }
}

/// The role of a server in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    Replica,
    /// The server does not report its role.
    Unknown,
}

/// The replicas of a master that refuses writes without replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replicas {
    /// How many have acknowledged within `min-replicas-max-lag`.
    good: u64,
    /// The addresses of all that are connected.
    connected: BTreeSet<String>,
}

impl Replicas {
    /// Queries the replicas of a master. Returns `None` if it accepts writes without replicas.
    ///
    /// If it refuses them, a master that was replaced beyond a partition soon refuses writes, unless
    /// some of its replicas are cut off with it. Without the right to query, the master counts as
    /// one that accepts them.
    pub(super) async fn query(
        connection: &mut MultiplexedConnection,
    ) -> Result<Option<Self>, Failure> {
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let info = connection.send_packed_command(&info).await;
        match info.and_then(Value::extract_error) {
            Ok(info) => Ok(text(&info).and_then(|text| Self::parse(&text))),
            Err(e) if e.code().is_some() => Ok(None),
            Err(e) => Err(before_use(&e)),
        }
    }

    fn parse(info: &str) -> Option<Self> {
        let good = info
            .lines()
            .find_map(|line| line.strip_prefix("min_slaves_good_slaves:"));
        // slave0:ip=10.0.0.1,port=6379,state=online,offset=14,lag=0
        let address = |line: &str| {
            let (slave, fields) = line.split_once(":ip=")?;
            let (address, _) = fields.split_once(",state=")?;
            slave.starts_with("slave").then(|| address.to_owned())
        };
        Some(Self {
            good: good?.trim().parse().ok()?,
            connected: info.lines().filter_map(address).collect(),
        })
    }

    /// Returns whether these are all replicas: as many as the sentinels know, each without lag, and
    /// among them those that were connected before.
    pub(super) fn are_all(&self, known: u64, before: &Self) -> bool {
        let is_without_lag = usize::try_from(self.good) == Ok(self.connected.len());
        known <= self.good && is_without_lag && before.connected.is_subset(&self.connected)
    }
}

/// Returns the URL to use in place of a Sentinel's, for the masters that it watches.
///
/// It has the host and the port only: a database and a login are those of the server.
fn sentinel_urls(target: &Target, masters: &[String]) -> String {
    let sentinel = target.place.url("+sentinel");
    if masters.is_empty() {
        return format!("{sentinel}/SERVICE");
    }
    let urls: Vec<String> = masters.iter().map(|m| format!("{sentinel}/{m}")).collect();
    urls.join(" or ")
}

/// How many masters an error names.
const MOST_NAMES: usize = 8;

/// Queries a Sentinel for the names of the masters that it watches, for use in an error.
///
/// There are none if it refuses to list them.
pub(super) async fn masters(
    connection: &mut MultiplexedConnection,
) -> Result<Vec<String>, Failure> {
    let mut masters = redis::cmd("SENTINEL");
    masters.arg("MASTERS");
    let masters = connection.send_packed_command(&masters).await;
    let masters = match masters.and_then(Value::extract_error) {
        Ok(Value::Array(masters)) => masters,
        Ok(_) => Vec::new(),
        Err(e) if e.code().is_some() => Vec::new(),
        Err(e) => return Err(before_use(&e)),
    };
    let names = masters.iter().filter_map(|master| field(master, "name"));
    let names = names.map(|name| name.escape_debug().to_string());
    Ok(names.take(MOST_NAMES).collect())
}

/// Returns the text of a field in a map, or in a list of names and values.
pub(super) fn field(of: &Value, name: &str) -> Option<String> {
    let value = match of {
        Value::Map(pairs) => pairs
            .iter()
            .find(|(key, _)| is_text(key, name))
            .map(|(_, v)| v),
        Value::Array(words) => {
            let mut pairs = words.chunks_exact(2).filter(|pair| is_text(&pair[0], name));
            pairs.next().map(|pair| &pair[1])
        }
        _ => None,
    };
    text(value?)
}

/// Returns the text of a value, if it is text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::BulkString(bytes) => bytes == text.as_bytes(),
        Value::SimpleString(found) => found == text,
        _ => false,
    }
}

fn refused(detail: String) -> Failure {
    Failure::before_sending(FailureKind::WrongUrl, detail)
}

/// Returns the failure of a query before any request was sent on the connection.
fn before_use(e: &RedisError) -> Failure {
    Failure {
        may_have_run: false,
        ..failure_of(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(good: u64, connected: &[u16]) -> Replicas {
        let slave = |(n, port): (usize, &u16)| {
            format!("slave{n}:ip=127.0.0.1,port={port},state=online,offset=14,lag=9\r\n")
        };
        let slaves: String = connected.iter().enumerate().map(slave).collect();
        let head = "# Replication\r\nrole:master\r\n";
        let info = format!("{head}min_slaves_good_slaves:{good}\r\n{slaves}repl_backlog:1\r\n");
        Replicas::parse(&info).unwrap()
    }

    #[test]
    fn replica_that_is_not_seen_may_be_promoted() {
        let before = replicas(2, &[1, 2]);
        for (good, connected, known, are_all) in [
            (2, &[1, 2][..], 2, true),
            (3, &[1, 2, 3], 2, true),
            (2, &[1, 2], 3, false),
            // The second one lags.
            (1, &[1, 2], 1, false),
            // Another one has taken the place of the second one.
            (2, &[1, 3], 2, false),
        ] {
            let seen = replicas(good, connected);
            assert_eq!(seen.are_all(known, &before), are_all, "{seen:?} {known}");
        }
        let unprotected = "role:master\r\nslave0:ip=127.0.0.1,port=1,state=online,lag=0\r\n";
        assert_eq!(Replicas::parse(unprotected), None);
    }
}
