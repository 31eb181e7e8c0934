//! The acknowledgements of replicas that a hold needs before it counts.

/// How many replicas have to acknowledge a hold: see [`Lock::replicas`](crate::Lock::replicas).
///
/// A number converts into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replicas {
    /// At least that many. Zero asks for none, which is the default.
    AtLeast(u32),
    /// All that the sentinels or the cluster know, reachable or not, and at least one.
    All,
}

impl From<u32> for Replicas {
    fn from(count: u32) -> Self {
        Self::AtLeast(count)
    }
}

/// The acknowledgement that a hold needs before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Acknowledgement {
    pub(crate) replicas: Replicas,
    /// Whether the server, and those replicas, have to have it on disk.
    pub(crate) durable: bool,
}

impl Acknowledgement {
    /// Nothing has to be acknowledged.
    pub(crate) const NONE: Self = Self {
        replicas: Replicas::AtLeast(0),
        durable: false,
    };

    pub(crate) fn is_needed(self) -> bool {
        self != Self::NONE
    }
}
