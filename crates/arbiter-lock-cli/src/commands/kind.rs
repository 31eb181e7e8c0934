//! How a lock is held, as a list and the metrics show it.

use arbiter_lock::Status;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lock,
    Leader,
    Readers,
    Permits,
    External,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Lock,
        Self::Leader,
        Self::Readers,
        Self::Permits,
        Self::External,
    ];

    /// Returns how the lock is held, or `None` if it is free.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        let holder = status.holder.as_ref()?;
        Some(match (&status.sharing, &status.value) {
            (Some(sharing), _) if sharing.limit.is_some() => Self::Permits,
            (Some(_), _) => Self::Readers,
            (None, Some(_)) => Self::Leader,
            (None, None) if holder.fence.is_none() => Self::External,
            (None, None) => Self::Lock,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Leader => "leader",
            Self::Readers => "readers",
            Self::Permits => "permits",
            Self::External => "external",
        }
    }
}
