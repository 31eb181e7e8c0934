//! The search itself.

use std::fmt;

use stateright::{Checker as _, HasDiscoveries, Model as _};

use crate::world::Action;
use crate::{Bounds, Invariant, Protocol, Rule, Rules};

/// What a search has come to.
#[derive(Clone, Debug)]
pub struct Searched {
    /// How many different states it has been to.
    pub states: usize,
    /// How many steps lead to the farthest.
    pub depth: usize,
    /// Whether all that can be reached was.
    pub is_complete: bool,
    /// What did not hold, by a shortest way to it.
    pub violation: Option<Violation>,
}

/// What did not hold, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What happened.
    pub actions: Vec<Action>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} steps", self.invariant, self.actions.len())
    }
}

impl Protocol {
    /// With all rules kept.
    #[must_use]
    pub const fn kept(bounds: Bounds) -> Self {
        Self {
            bounds,
            rules: Rules { broken: None },
            is_folded: true,
            ignored: None,
        }
    }

    /// With that rule broken, within bounds in which it shows.
    #[must_use]
    pub const fn with_broken(rule: Rule) -> Self {
        Self {
            bounds: Bounds::against(rule),
            rules: Rules { broken: Some(rule) },
            is_folded: false,
            ignored: None,
        }
    }

    /// The same, without a look at that.
    #[must_use]
    pub const fn ignoring(self, invariant: Invariant) -> Self {
        Self {
            ignored: Some(invariant),
            ..self
        }
    }

    /// Searches through all that can happen, until something does not hold.
    #[must_use]
    pub fn search(self) -> Searched {
        let mut searched = self.search_below(usize::MAX);
        // What is found first may be by a way round.
        while let Some(violation) = &searched.violation {
            let shorter = self.search_below(violation.actions.len()).violation;
            if shorter.is_none() {
                break;
            }
            searched.violation = shorter;
        }
        searched
    }

    /// Searches through all that fewer steps than that can come to.
    fn search_below(&self, steps: usize) -> Searched {
        // One thread alone always finds the same way.
        let threads = if self.rules.broken.is_none() {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        };
        let builder = self.clone().checker().threads(threads);
        let checker = builder
            .target_max_depth(steps.saturating_add(1))
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
        let found = checker.discoveries().into_iter();
        let found = found.map(|(invariant, path)| (path.into_actions(), invariant));
        let found = found.min_by_key(|(actions, invariant)| (actions.len(), *invariant));
        Searched {
            states: checker.unique_state_count(),
            depth: checker.max_depth(),
            is_complete: checker.is_done() && found.is_none(),
            violation: found.map(|(actions, invariant)| Violation { invariant, actions }),
        }
    }
}
