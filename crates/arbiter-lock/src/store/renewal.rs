//! A hold to renew.

use std::sync::Arc;

use arbiter_lock_core::Name;

/// A hold to renew: its owner, fence and lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal<'a> {
    pub(crate) name: &'a Name,
    pub(crate) owner: &'a str,
    pub(crate) fence: u64,
    pub(crate) lease_ms: u64,
}

impl Renewal<'_> {
    /// Its name, owner, fence and lease, for a step that outlives its caller.
    pub(crate) fn own(&self) -> (Name, Arc<str>, u64, u64) {
        let owner = self.owner.into();
        (self.name.clone(), owner, self.fence, self.lease_ms)
    }
}
