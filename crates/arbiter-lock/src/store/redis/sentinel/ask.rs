//! Queries one sentinel for the master of a group.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::super::failure::failure_of;
use super::super::introduction::{field, masters, text};
use super::super::target::Place;
use super::view::{Master, SentinelReply};
use crate::printable::Printable;
use crate::store::{Failure, FailureKind};

/// How many other sentinels an answer may name.
const MOST_OTHERS: usize = 64;

/// Queries a sentinel for the master of that name.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    place: &Place,
    service: &str,
) -> Result<SentinelReply, Failure> {
    let mut questions = redis::pipe();
    questions.cmd("SENTINEL").arg("MYID");
    // The epoch before the address: an address that is newer than its epoch is harmless, while an
    // old address with a new epoch would be accepted.
    questions.cmd("SENTINEL").arg("MASTER").arg(service);
    questions.cmd("SENTINEL").arg("SENTINELS").arg(service);
    let address = questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME");
    address.arg(service);
    // Last, since it is the only one that may be refused.
    questions.cmd("SENTINEL").arg("REPLICAS").arg(service);
    let answers = connection.send_packed_commands(&questions, 0, 5).await;
    let answers = answers.map_err(|e| failure_of(&e))?;
    let mut answers = answers.into_iter().map(Value::extract_error);
    let mut next = || answers.next().unwrap_or_else(|| Ok(Value::Nil));
    let (id, master, others, address, replicas) = (next(), next(), next(), next(), next());
    let master = match master {
        Ok(master) => master,
        Err(e) if e.detail().is_some_and(|d| d.starts_with("No such master")) => {
            return Err(unknown_service(connection, service).await);
        }
        Err(e) if e.detail().is_some_and(is_unknown_command) => {
            let detail = format!("it is no sentinel: use {}", place.url(""));
            return Err(Failure::before_sending(FailureKind::WrongUrl, detail));
        }
        Err(e) => return Err(failure_of(&e)),
    };
    let epoch = field(&master, "config-epoch").and_then(|epoch| epoch.parse().ok());
    let down_after = field(&master, "down-after-milliseconds");
    let down_after = down_after.and_then(|millis| millis.parse().ok());
    let down_after = down_after.map(Duration::from_millis);
    let address = pair(&address.map_err(|e| failure_of(&e))?);
    let (Some(epoch), Some(address)) = (epoch, address) else {
        return Err(malformed());
    };
    let Value::Array(others) = others.map_err(|e| failure_of(&e))? else {
        return Err(malformed());
    };
    let address_in = |fields: &Value| {
        let [ip, port] = ["ip", "port"].map(|name| field(fields, name));
        Some((ip?, port?.parse().ok()?))
    };
    let other = |fields: &Value| Some((field(fields, "runid")?, address_in(fields)?));
    let replicas = match replicas {
        Ok(Value::Array(replicas)) => replicas.iter().take(MOST_OTHERS).map(address_in).collect(),
        _ => None,
    };
    Ok(SentinelReply {
        id: text(&id.map_err(|e| failure_of(&e))?).ok_or_else(malformed)?,
        master: Master { epoch, address },
        down_after,
        replicas,
        others: others.iter().filter_map(other).take(MOST_OTHERS).collect(),
    })
}

/// Returns whether a server does not know a command, in the spelling of any version.
fn is_unknown_command(detail: &str) -> bool {
    detail.to_ascii_lowercase().starts_with("unknown command")
}

/// Reads an address: a list of a host and a port.
fn pair(value: &Value) -> Option<(String, u16)> {
    match value {
        Value::Array(words) => match words.as_slice() {
            [host, port] => Some((text(host)?, text(port)?.parse().ok()?)),
            _ => None,
        },
        _ => None,
    }
}

fn malformed() -> Failure {
    Failure::before_sending(FailureKind::Malformed, "unexpected answer of a sentinel")
}

/// Returns the failure for a name that no sentinel knows. It lists the known names.
async fn unknown_service(connection: &mut MultiplexedConnection, service: &str) -> Failure {
    let names = masters(connection).await.unwrap_or_default();
    let known = match names.as_slice() {
        [] => "and they watch none".to_owned(),
        names => format!("only {}", names.join(", ")),
    };
    let detail = format!(
        "the sentinels watch no master '{}', {known}",
        Printable(service)
    );
    Failure::before_sending(FailureKind::WrongUrl, detail)
}
