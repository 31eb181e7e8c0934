//! What a holder writes beside its hold.

use std::sync::Arc;

use arbiter_lock_core::{Moment, Resource, Rows, Written};

/// What a holder writes beside its hold.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// What the hold with this owner and this fence proclaims.
    Proclaim {
        owner: Arc<str>,
        fence: u64,
        value: Arc<str>,
    },
    /// That work has begun under the hold with this owner and this fence.
    BeginRun {
        owner: Arc<str>,
        fence: u64,
        keep_ms: u64,
    },
    /// That the work that was begun under this fence has ended.
    FinishRun {
        fence: u64,
        outcome: Arc<str>,
        keep_ms: u64,
    },
}

impl Write {
    /// Does the core's step.
    pub(crate) fn apply<R: Rows>(&self, resource: &mut Resource<R>, now: Moment) -> Written {
        match self {
            Self::Proclaim {
                owner,
                fence,
                value,
            } => resource.proclaim(now, owner, *fence, value),
            Self::BeginRun {
                owner,
                fence,
                keep_ms,
            } => resource.begin_run(now, owner, *fence, *keep_ms),
            Self::FinishRun {
                fence,
                outcome,
                keep_ms,
            } => resource.finish_run(now, *fence, outcome, *keep_ms),
        }
    }
}
