//! Who leads, as others see it.

use std::time::Duration;

use arbiter_lock_core::{Moment, Status};

use crate::label::Label;
use crate::status::Holder;

/// Who leads, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// What it proclaims; `None` from one who has not proclaimed yet, and from one who holds the
    /// resource without an election.
    pub value: Option<String>,
    /// The fencing token; a holder of the Go library has none.
    pub fence: Option<u64>,
    /// For how long it has led, where known.
    pub held: Option<Duration>,
    /// Who it is.
    pub label: Label,
}

impl Leader {
    /// The leader that can be seen there. Those who share a resource do not lead.
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
