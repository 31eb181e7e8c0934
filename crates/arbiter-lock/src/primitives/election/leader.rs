//! The leader of an election, as recorded in the store.

use std::time::Duration;

use arbiter_lock_core::{Moment, Status};

use crate::label::Label;
use crate::status::Holder;

/// The leader of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// The value that it proclaims. `None` if it has not proclaimed one yet, or holds the resource
    /// without an election.
    pub value: Option<String>,
    /// The fencing token. `None` for a holder of the Go library.
    pub fence: Option<u64>,
    /// How long it has led, if known.
    pub held: Option<Duration>,
    /// The process that leads.
    pub label: Label,
}

impl Leader {
    /// Returns the leader in that status. A shared holder is not a leader.
    pub(super) fn of(status: &Status, at: Moment) -> Option<Self> {
        let view = status
            .holder
            .as_ref()
            .filter(|_| status.sharing.is_none())?;
        let Holder {
            fence, held, label, ..
        } = Holder::new(view, at);
        Some(Self {
            value: status.value.as_deref().map(str::to_owned),
            fence,
            held,
            label,
        })
    }
}
