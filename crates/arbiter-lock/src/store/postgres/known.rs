//! States of names as this client has written them, so that a release soon after needs no reading.
//!
//! A state that is out of date does no harm: its revision is, too. Only releases use one. They
//! happen at the time of the state then, a moment ago, and nothing has happened since.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arbiter_lock_core::{Moment, Root};
use tokio::time::Instant;

use super::rows::Loaded;

/// How long a state is used.
const LIFE: Duration = Duration::from_secs(1);
/// How many states are kept.
const MOST: usize = 1_024;

/// The states of names without a queue and without shared holds.
#[derive(Default)]
pub(super) struct KnownStates(HashMap<Arc<str>, KnownState>);

/// The state of a name, which has no other rows.
pub(super) struct KnownState {
    pub(super) at: Moment,
    pub(super) root: Root,
    pub(super) revision: i64,
    pub(super) since: Instant,
}

impl KnownStates {
    pub(super) fn note(&mut self, key: Arc<str>, state: KnownState) {
        if self.0.len() == MOST {
            self.0.clear();
        }
        self.0.insert(key, state);
    }

    /// Takes the state of a name, if it is recent.
    pub(super) fn take(&mut self, key: &str) -> Option<KnownState> {
        let state = self.0.remove(key);
        state.filter(|state| state.since.elapsed() < LIFE)
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

impl KnownState {
    /// Returns whether a root represents all rows of its name.
    pub(super) fn is_whole(root: &Root) -> bool {
        root.sharing.is_none() && root.waiting + root.skipped + root.notes == 0
    }

    /// Returns the rows, as if they were read.
    pub(super) fn into_loaded(self) -> Loaded {
        Loaded {
            root: self.root,
            revision: Some(self.revision),
            has_all_places: true,
            has_all_shared: true,
            has_all_notes: true,
            ..Loaded::default()
        }
    }
}
