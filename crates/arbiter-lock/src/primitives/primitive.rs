//! The primitive that a request belongs to, as spans and metrics show it.

/// A way to hold a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primitive {
    Lock,
    RwRead,
    RwWrite,
    Semaphore,
    Election,
    Once,
}

impl Primitive {
    /// Returns the value of the label or field `primitive`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::RwRead => "rw_read",
            Self::RwWrite => "rw_write",
            Self::Semaphore => "semaphore",
            Self::Election => "election",
            Self::Once => "once",
        }
    }
}
