//! The kind of a dialed server: a single server, a Sentinel, or a node of a cluster.

use redis::{RedisError, Value};

use super::dial::Line;
use super::failure::failure_of;
use super::target::Target;
use crate::store::{Failure, FailureKind};

/// Queries the kind of the server, and refuses one that does not match the URL. Names the
/// connection, which needs no right.
///
/// On a cluster some names would work by chance, and a Sentinel keeps no locks.
pub(super) async fn introduce(
    line: &mut Line,
    target: &Target,
    name: &str,
) -> Result<Role, Failure> {
    let mut hello = redis::cmd("HELLO");
    hello.arg(3).arg("SETNAME").arg(name);
    let hello = line.connection.send_packed_command(&hello).await;
    let hello = match hello.and_then(Value::extract_error) {
        Ok(hello) => hello,
        // A server that does not know the command is not queried further.
        Err(e) if e.code().is_some() => return Ok(Role::Unknown),
        Err(e) => return Err(before_use(&e)),
    };
    match field(&hello, "mode").as_deref() {
        Some("cluster") => Err(refused(format!(
            "it is a node of a cluster, where only some names would work; a cluster's URL, \
             {}, is not supported yet: use a server that is not in cluster mode",
            target.to_string().replacen("://", "+cluster://", 1)
        ))),
        Some("sentinel") => Err(refused(watched(line, target).await?)),
        _ => Ok(match field(&hello, "role").as_deref() {
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

/// Queries whether a master refuses writes without replicas.
///
/// If it does, a master that was replaced beyond a partition soon refuses writes. Without the right
/// to query, it counts as unprotected.
pub(super) async fn protects_itself(line: &mut Line) -> Result<bool, Failure> {
    let mut info = redis::cmd("INFO");
    info.arg("replication");
    let info = line.connection.send_packed_command(&info).await;
    match info.and_then(Value::extract_error) {
        Ok(info) => Ok(text(&info).is_some_and(|text| text.contains("min_slaves_good_slaves:"))),
        Err(e) if e.code().is_some() => Ok(false),
        Err(e) => Err(before_use(&e)),
    }
}

/// Returns the error for a Sentinel, which names the URLs to use.
async fn watched(line: &mut Line, target: &Target) -> Result<String, Failure> {
    let mut masters = redis::cmd("SENTINEL");
    masters.arg("MASTERS");
    let masters = line.connection.send_packed_command(&masters).await;
    let masters = match masters.and_then(Value::extract_error) {
        Ok(Value::Array(masters)) => masters,
        Ok(_) => Vec::new(),
        Err(e) if e.code().is_some() => Vec::new(),
        Err(e) => return Err(before_use(&e)),
    };
    let names = masters.iter().filter_map(|master| field(master, "name"));
    let sentinel = target.to_string().replacen("://", "+sentinel://", 1);
    let url = |name: String| format!("{sentinel}/{}", name.escape_debug());
    let urls: Vec<String> = names.take(MOST_WATCHED).map(url).collect();
    let urls = match urls.as_slice() {
        [] => format!("{sentinel}/SERVICE"),
        urls => urls.join(" or "),
    };
    Ok(format!(
        "it is a Sentinel, which keeps no locks itself: use {urls}"
    ))
}

/// How many of the masters that a Sentinel watches an error names.
const MOST_WATCHED: usize = 8;

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
