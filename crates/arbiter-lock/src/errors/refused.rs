//! Requests that a store refuses.

use std::fmt;
use std::num::NonZeroU32;

use arbiter_lock_core::{Mode, Refusal};

use crate::errors::failure::Failure;
use crate::printable::Printable;

/// A request that the store refuses. A retry does not help.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The resource.
    pub name: String,
    /// The store, without secrets.
    pub store: String,
    /// Why it is refused.
    pub kind: RefusedKind,
    pub(crate) failure: Option<Failure>,
}

/// Why a store refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedKind {
    /// The key or the file holds other data, which is never changed.
    WrongType,
    /// The file of an embedded store is damaged.
    Damaged,
    /// The password is wrong or missing, or the user lacks a right.
    Denied,
    /// The server lacks features that the protocol needs, or does not speak it.
    Unsupported,
    /// The server is of another kind than the URL names. Examples: a Sentinel or a node of a
    /// cluster behind the URL of a single server, or a single server behind that of a cluster.
    WrongUrl,
    /// The shared holders or waiters have another limit. Readers have none.
    LimitDiffers {
        /// The limit that was asked for.
        asked: Option<u32>,
        /// The limit in force.
        in_force: Option<u32>,
    },
    /// The request asks for more permits than the limit.
    AboveLimit {
        /// How many permits were asked for.
        asked: u32,
        /// The limit.
        limit: u32,
    },
}

impl Refused {
    /// Makes the error for a refusal of a request in that mode.
    pub(crate) fn new(name: &str, store: &str, mode: Mode, refusal: Refusal) -> Self {
        let (weight, stated) = match mode {
            Mode::Exclusive => (1, None),
            Mode::Shared { weight, limit } => (weight.get(), limit.first()),
        };
        let kind = match refusal {
            Refusal::AboveLimit { limit } => RefusedKind::AboveLimit {
                asked: weight,
                limit,
            },
            Refusal::LimitDiffers { limit } => RefusedKind::LimitDiffers {
                asked: stated.map(NonZeroU32::get),
                in_force: limit,
            },
        };
        Self {
            name: name.to_owned(),
            store: store.to_owned(),
            kind,
            failure: None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Printable(&self.name);
        match self.kind {
            RefusedKind::LimitDiffers {
                asked: Some(asked),
                in_force: Some(in_force),
            } => write!(
                f,
                "lock '{name}': a limit of {asked} was asked for, and a limit of {in_force} is in force: ask for that, follow it (follow_limit), or take another name"
            ),
            RefusedKind::LimitDiffers { asked, in_force } => write!(
                f,
                "lock '{name}': {} was asked for, and {} is in force: readers and permits do not mix under one name, so wait until it is free, or take another",
                LimitOf(asked),
                LimitOf(in_force),
            ),
            RefusedKind::AboveLimit { asked, limit } => write!(
                f,
                "lock '{name}': {asked} permits were asked for, and the limit is {limit}: ask for fewer, or raise it (resize)"
            ),
            _ => {
                let mut failures = self.failure.iter();
                failures.try_for_each(|failure| failure.write_of(f, &self.name, &self.store))
            }
        }
    }
}

/// Formats a limit.
struct LimitOf(Option<u32>);

impl fmt::Display for LimitOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "a limit of {limit}"),
            None => f.write_str("no limit (as by readers)"),
        }
    }
}
