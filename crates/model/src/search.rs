//! The search itself.

use std::collections::HashSet;
use std::fmt;

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model, Property};

use crate::world::{Action, World};
use crate::{Bounds, Form, Invariant, Protocol, Rule, Rules};

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The number of different states that were visited.
    pub states: usize,
    /// Whether all reachable states were visited.
    pub is_complete: bool,
    /// A violation, by a shortest path.
    pub violation: Option<Violation>,
}

/// A violated invariant, and a path to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// The path.
    pub actions: Vec<Action>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} steps", self.invariant, self.actions.len())
    }
}

impl Protocol {
    /// Returns the protocol with all rules kept.
    #[must_use]
    pub const fn kept(bounds: Bounds) -> Self {
        Self {
            bounds,
            rules: Rules { broken: None },
            form: Form::Folded,
            ignored: None,
        }
    }

    /// Returns the same protocol, with all states settled.
    #[must_use]
    pub const fn settled(self) -> Self {
        Self {
            form: Form::Settled,
            ..self
        }
    }

    /// Returns the protocol with that rule broken, within bounds in which it shows.
    #[must_use]
    pub const fn with_broken(rule: Rule) -> Self {
        Self {
            bounds: Bounds::against(rule),
            rules: Rules { broken: Some(rule) },
            form: Form::Whole,
            ignored: None,
        }
    }

    /// Returns the same protocol, without a check of that invariant.
    #[must_use]
    pub const fn ignoring(self, invariant: Invariant) -> Self {
        Self {
            ignored: Some(invariant),
            ..self
        }
    }

    /// Searches through all states, up to the first violation.
    #[must_use]
    pub fn search(self) -> Searched {
        let mut searched = match self.form {
            // All of these would take too long: the search is for the nearest violation.
            Form::Whole => self.search_below(usize::MAX),
            Form::Folded | Form::Settled => search_all(self.clone()),
        };
        // The first path that is found may be a detour.
        while let Some(violation) = &searched.violation {
            let shorter = self.search_below(violation.actions.len()).violation;
            if shorter.is_none() {
                break;
            }
            searched.violation = shorter;
        }
        searched
    }

    /// Searches through the states within fewer steps than that, breadth first.
    fn search_below(&self, steps: usize) -> Searched {
        // One thread alone always finds the same path.
        let is_shown = self.form == Form::Whole;
        let checker = checker(self.clone(), if is_shown { 1 } else { threads() });
        let checker = checker.target_max_depth(steps.saturating_add(1));
        result_of(checker.spawn_bfs())
    }

    /// Searches through all states, and checks that each settles to states of the settled search.
    /// If so, COVER holds.
    #[must_use]
    pub fn compare_with_settled(self) -> Searched {
        let settled = self.clone().settled().all();
        search_all(Compared { of: self, settled })
    }

    /// Returns all states.
    fn all(&self) -> HashSet<World> {
        let mut from = self.init_states();
        let mut all: HashSet<World> = from.iter().cloned().collect();
        while let Some(world) = from.pop() {
            for next in self.next_states(&world) {
                if all.insert(next.clone()) {
                    from.push(next);
                }
            }
        }
        all
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Searches through all states, depth first, which stores the least per state.
fn search_all<M>(model: M) -> Searched
where
    M: Model<State = World, Action = Action> + Send + Sync + 'static,
{
    result_of(checker(model, threads()).spawn_dfs())
}

fn checker<M>(model: M, threads: usize) -> CheckerBuilder<M>
where
    M: Model<State = World, Action = Action> + Send + Sync + 'static,
{
    let checker = model.checker().threads(threads);
    checker.finish_when(HasDiscoveries::AnyFailures)
}

fn result_of<M>(checker: impl Checker<M>) -> Searched
where
    M: Model<State = World, Action = Action>,
{
    let checker = checker.join();
    let found = checker.discoveries().into_iter();
    let found = found.map(|(invariant, path)| (path.into_actions(), invariant));
    let found = found.min_by_key(|(actions, invariant)| (actions.len(), *invariant));
    Searched {
        states: checker.unique_state_count(),
        is_complete: checker.is_done() && found.is_none(),
        violation: found.map(|(actions, invariant)| Violation { invariant, actions }),
    }
}

/// All states, and the states of the settled search.
struct Compared {
    of: Protocol,
    settled: HashSet<World>,
}

impl Model for Compared {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.of.init_states()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.of.actions(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        self.of.next_state(world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let is_covered = |it: &Self, world: &World| {
            let settlements = world.settlements(it.of.rules, it.of.bounds.faults);
            settlements.iter().any(|it_is| it.settled.contains(it_is))
        };
        vec![Property::always("COVER", is_covered)]
    }
}
