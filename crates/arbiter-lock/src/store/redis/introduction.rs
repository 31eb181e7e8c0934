//! The kind of a dialed server: a single server, a Sentinel, or a node of a cluster.

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};

use super::dial::Line;
use super::failure::failure_of;
use super::target::Target;
use crate::printable::Printable;
use crate::store::{Failure, FailureKind};

/// Queries the kind of the server, and refuses a kind that does not match the URL. Then selects the
/// database, and names the connection, which needs no right.
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
    selected.map_err(|e| unselected(&e, target))?;
    Ok(role)
}

/// Returns the failure of a server that did not select the database of the URL.
fn unselected(e: &RedisError, target: &Target) -> Failure {
    let detail = e.detail().unwrap_or_default();
    if !detail.contains("out of range") && !detail.contains("invalid DB index") {
        return before_use(e);
    }
    refused(format!(
        "it has no database {}: name one below its setting `databases`, which is 16 by default",
        target.database
    ))
}

/// Returns the role of a server in its answer to `HELLO`, or the failure of one that keeps no locks.
async fn role(hello: &Value, line: &mut Line, target: &Target) -> Result<Role, Failure> {
    match field(hello, "mode").as_deref() {
        Some("cluster") if !target.is_node => Err(refused(format!(
            "it is a node of a cluster, where only some names would work: use {}",
            target.place.url("+cluster")
        ))),
        Some("sentinel") => {
            let masters = masters(&mut line.connection).await?;
            let urls = sentinel_urls(target, &masters);
            Err(refused(format!(
                "it is a Sentinel, which keeps no locks itself: use {urls}"
            )))
        }
        _ if target.is_node && is_too_old(hello) => {
            let version = field(hello, "version").unwrap_or_default();
            Err(Failure::before_sending(
                FailureKind::Unsupported,
                format!("a cluster needs Redis 7.0 or later, and it is {version}"),
            ))
        }
        _ => Ok(match field(hello, "role").as_deref() {
            Some("master") => Role::Master,
            Some(_) => Role::Replica,
            None => Role::Unknown,
        }),
    }
}

/// Returns whether a server has no channels of slots.
fn is_too_old(hello: &Value) -> bool {
    let version = field(hello, "version");
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major < 7)
}

/// The role of a server in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Master,
    Replica,
    /// The server does not report its role.
    Unknown,
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
    let names = names.map(|name| Printable(&name).to_string());
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
pub(super) fn before_use(e: &RedisError) -> Failure {
    Failure {
        may_have_run: false,
        ..failure_of(e)
    }
}
