//! What a server says of itself when it is dialed: a single server, a Sentinel, or a cluster's node.

use redis::{RedisError, Value};

use super::dial::Line;
use super::failure::failure_of;
use super::target::Target;
use crate::store::{Failure, FailureKind};

/// Asks the server what it is, and refuses one that the URL does not mean: on a cluster some names
/// would work by chance, and a Sentinel keeps no locks.
pub(super) async fn introduce(line: &mut Line, target: &Target) -> Result<(), Failure> {
    let hello = line
        .connection
        .send_packed_command(&redis::cmd("HELLO"))
        .await;
    let hello = match hello.and_then(Value::extract_error) {
        Ok(hello) => hello,
        // Something that does not know the command is asked nothing more.
        Err(e) if e.code().is_some() => return Ok(()),
        Err(e) => return Err(before_use(&e)),
    };
    match field(&hello, "mode").as_deref() {
        Some("cluster") => Err(refused(format!(
            "it is a node of a cluster, where only some names would work; a cluster's URL, \
             {}, is not supported yet: use a server that is not in cluster mode",
            target.to_string().replacen("://", "+cluster://", 1)
        ))),
        Some("sentinel") => Err(refused(watched(line).await?)),
        _ => Ok(()),
    }
}

/// Says which servers a Sentinel watches.
async fn watched(line: &mut Line) -> Result<String, Failure> {
    let mut masters = redis::cmd("SENTINEL");
    masters.arg("MASTERS");
    let masters = line.connection.send_packed_command(&masters).await;
    let masters = match masters.and_then(Value::extract_error) {
        Ok(Value::Array(masters)) => masters,
        Ok(_) => Vec::new(),
        Err(e) if e.code().is_some() => Vec::new(),
        Err(e) => return Err(before_use(&e)),
    };
    let watched: Vec<String> = masters
        .iter()
        .take(MOST_WATCHED)
        .filter_map(master)
        .collect();
    let urls = match watched.as_slice() {
        [] => "redis://HOST:PORT".to_owned(),
        watched => watched.join(", "),
    };
    Ok(format!(
        "it is a Sentinel, which keeps no locks: use the URL of the server that it watches, {urls} \
         (a failover is not followed yet)"
    ))
}

/// How many of the servers that a Sentinel watches an error names.
const MOST_WATCHED: usize = 8;

/// A server that a Sentinel watches: its URL and its name.
fn master(fields: &Value) -> Option<String> {
    let [name, host, port] = ["name", "ip", "port"].map(|name| field(fields, name));
    let (host, name) = (host?, name?);
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    Some(format!(
        "redis://{host}:{} ({})",
        port?,
        name.escape_debug()
    ))
}

/// The text of a field in a map, or in a list of names and values.
fn field(of: &Value, name: &str) -> Option<String> {
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
    match value? {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Value::SimpleString(text) => Some(text.clone()),
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

/// What went wrong before anything was asked for on the connection.
fn before_use(e: &RedisError) -> Failure {
    Failure {
        may_have_run: false,
        ..failure_of(e)
    }
}
