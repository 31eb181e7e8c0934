//! Faults for all connections of the proxy.

use std::collections::BTreeMap;
use std::time::Duration;

use super::monitor::Monitor;
use super::rule::{Fault, Rule};

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traffic {
    /// They arrive.
    #[default]
    Flowing,
    /// Nothing passes in either direction until traffic flows again. Then everything arrives late.
    Stalled,
    /// Messages are lost in both directions, and connections stay open. Those connections never
    /// work again. When traffic flows again, new ones do.
    Silent,
    /// Old connections continue, and new ones are closed at once.
    Refused,
}

/// How published messages travel. Replies and confirmed subscriptions always arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushes {
    /// They arrive.
    #[default]
    Flowing,
    /// They are lost.
    Lost,
    /// They arrive that much later, and replies overtake them.
    Late(Duration),
}

/// The state that the threads of a proxy share.
#[derive(Debug, Default)]
pub(super) struct Switch(Monitor<State>);

#[derive(Debug, Default)]
struct State {
    traffic: Traffic,
    /// The delay in either direction.
    delay: Duration,
    pushes: Pushes,
    rules: Vec<Rule>,
    counts: BTreeMap<String, u64>,
    is_over: bool,
}

impl Switch {
    pub(super) fn traffic(&self) -> Traffic {
        self.0.read(|state| state.traffic)
    }

    pub(super) fn set_traffic(&self, traffic: Traffic) {
        self.0.change(|state| state.traffic = traffic);
    }

    pub(super) fn delay(&self) -> Duration {
        self.0.read(|state| state.delay)
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        self.0.change(|state| state.delay = delay);
    }

    pub(super) fn pushes(&self) -> Pushes {
        self.0.read(|state| state.pushes)
    }

    pub(super) fn set_pushes(&self, pushes: Pushes) {
        self.0.change(|state| state.pushes = pushes);
    }

    pub(super) fn wait_while_stalled(&self) {
        self.0
            .wait(|state| state.traffic != Traffic::Stalled || state.is_over);
    }

    pub(super) fn add(&self, rule: Rule) {
        self.0.change(|state| state.rules.push(rule));
    }

    /// Returns the oldest rule that applies. Every rule counts the request.
    pub(super) fn rule_for(&self, args: &[Vec<u8>]) -> Option<(Fault, Rule)> {
        let rules = self.0.read(|state| state.rules.clone());
        let turns: Vec<_> = rules
            .into_iter()
            .filter_map(|rule| Some((rule.meet(args)?, rule)))
            .collect();
        turns.into_iter().next()
    }

    pub(super) fn count(&self, name: String) {
        self.0
            .change(|state| *state.counts.entry(name).or_default() += 1);
    }

    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.read(|state| state.counts.clone())
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.read(|state| state.is_over)
    }

    pub(super) fn end(&self) {
        let rules = self.0.change(|state| {
            state.is_over = true;
            state.rules.clone()
        });
        rules.iter().for_each(Rule::end);
    }
}
