//! The last run of a job.

use std::fmt;
use std::time::Duration;

use arbiter_lock_core::{Moment, Run};

use super::ending::Ending;
use crate::errors::error::Seconds;
use crate::label::Label;
use crate::printable::Printable;

/// The last run of a job, at one moment of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastRun {
    /// The process that ran it.
    pub label: Label,
    /// The fencing token of its hold.
    pub fence: u64,
    /// How long ago it started.
    pub started: Duration,
    /// Whether and how it ended.
    pub state: RunState,
}

/// Whether and how a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunState {
    /// It has not ended, and holds the resource.
    Running,
    /// It succeeded.
    EndedWell {
        /// How long ago.
        ago: Duration,
        /// The text that was recorded with it, often empty.
        note: String,
    },
    /// It failed, or its hold was lost before it ended.
    Failed {
        /// How long ago.
        ago: Duration,
        /// Why it failed.
        why: String,
    },
    /// Its end is not recorded, and it does not hold the resource any more.
    Crashed,
}

impl LastRun {
    pub(super) fn new(run: &Run, at: Moment, holds: bool) -> Self {
        let since =
            |then: Moment| Duration::from_micros(at.as_micros().saturating_sub(then.as_micros()));
        let state = match &run.ended {
            Some((then, outcome)) => {
                let ago = since(*then);
                match Ending::of(outcome) {
                    Ending::Well(note) => RunState::EndedWell {
                        ago,
                        note: note.to_owned(),
                    },
                    Ending::Failed(why) => RunState::Failed {
                        ago,
                        why: why.to_owned(),
                    },
                }
            }
            None if holds => RunState::Running,
            None => RunState::Crashed,
        };
        Self {
            label: Label::from_line(&run.label),
            fence: run.fence,
            started: since(run.started),
            state,
        }
    }
}

impl fmt::Display for LastRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            label,
            started,
            state,
            ..
        } = self;
        write!(f, "{label}, started {} ago, {state}", Seconds(*started))
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Any client of the store may have written the texts.
        match self {
            Self::Running => f.write_str("is running"),
            Self::EndedWell { ago, note } => {
                write!(f, "ended well {} ago", Seconds(*ago))?;
                write_text(f, note)
            }
            Self::Failed { ago, why } => {
                write!(f, "failed {} ago", Seconds(*ago))?;
                write_text(f, why)
            }
            Self::Crashed => f.write_str("has not ended, and holds no more: it crashed"),
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text {
        "" => Ok(()),
        text => write!(f, ": {}", Printable(text)),
    }
}
