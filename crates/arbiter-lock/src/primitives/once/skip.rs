//! Why a job was skipped.

use std::fmt;
use std::time::Duration;

use super::{LastRun, RunState};
use crate::errors::error::Seconds;
use crate::printable::Printable;
use crate::status::Holder;

/// Why a job was skipped. Its `Display` is a readable message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Skip {
    /// The job is not due.
    NotDue {
        /// The job.
        name: String,
        /// Its last run.
        last: LastRun,
        /// How long until it may run again.
        next: Duration,
    },
    /// The job is running.
    Running {
        /// The job.
        name: String,
        /// The holder. `None` if the resource was just being handed off.
        holder: Option<Holder>,
    },
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDue { name, last, next } => {
                let name = Printable(name);
                match last.state {
                    RunState::Running => {
                        let started = Seconds(last.started);
                        write!(
                            f,
                            "'{name}' is running now, by {}, started {started} ago; ",
                            last.label
                        )?;
                    }
                    _ => write!(f, "'{name}' was run by {last}; ")?,
                }
                write!(f, "it may run again in {}", Seconds::left(*next))
            }
            Self::Running { name, holder } => {
                write!(f, "'{}' is running now", Printable(name))?;
                match holder {
                    Some(holder) => write!(f, ", by {holder}"),
                    None => Ok(()),
                }
            }
        }
    }
}
