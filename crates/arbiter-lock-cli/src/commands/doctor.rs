//! `arbiter doctor`: checks the settings of the store that matter to locks.

use arbiter_lock::{Check, CheckStatus, NoopLogger};
use serde_json::{Value, json};

use crate::cli::{DoctorArgs, StoreArgs};
use crate::exit::Exit;
use crate::stdout::{json_line, lines};
use crate::store;

/// Prints the checks. The exit is 1 if one of them is not fine.
pub(crate) async fn doctor(args: &DoctorArgs, store: &StoreArgs) -> Result<Exit, Exit> {
    let client = store::client(store, NoopLogger).inspect_err(|_| {
        // The message was printed.
        let _ = unasked(
            args,
            "the store's URL or a setting is invalid",
            "correct it",
        );
    })?;
    let checks = match client.diagnose(args.lease).await {
        Ok(checks) => checks,
        Err(error) => {
            let fix = "start the store, or name another one; check its user and password";
            unasked(args, &error.to_string(), fix)?;
            return Err(store::fail(&error));
        }
    };
    if args.json {
        let array = Value::Array(checks.iter().map(json_of).collect());
        json_line(&array)?;
    } else {
        checks.iter().try_for_each(print)?;
    }
    let is_healthy = checks.iter().all(|check| check.status == CheckStatus::Ok);
    Ok(if is_healthy {
        Exit::Success
    } else {
        Exit::Status(1)
    })
}

/// Prints as JSON, if that is asked for, that the store cannot be asked.
fn unasked(args: &DoctorArgs, message: &str, fix: &str) -> Result<(), Exit> {
    if !args.json {
        return Ok(());
    }
    let failure = object("connection", "failure", message, Some(fix));
    json_line(&json!([failure]))
}

fn print(check: &Check) -> Result<(), Exit> {
    let (name, status) = (check.name, word(check.status));
    lines(&format!("{status:<8} {name:<14} {}", check.message))?;
    match &check.fix {
        Some(fix) => lines(&format!("{:23} fix: {fix}", "")),
        None => Ok(()),
    }
}

fn word(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Ok => "ok",
        CheckStatus::Warning => "warning",
        _ => "failure",
    }
}

fn json_of(check: &Check) -> Value {
    object(
        check.name,
        word(check.status),
        &check.message,
        check.fix.as_deref(),
    )
}

fn object(check: &str, status: &str, message: &str, fix: Option<&str>) -> Value {
    json!({ "check": check, "status": status, "message": message, "fix": fix })
}
