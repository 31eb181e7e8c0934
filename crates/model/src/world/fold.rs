//! Equality of states: states with equal futures are equal.

use super::World;
use crate::client::Phase;
use crate::message::Message;
use crate::requests::Request;
use crate::rule::Rules;

impl World {
    /// Removes facts that make no difference any more, so states with equal futures are equal.
    pub(super) fn tidy(&mut self, rules: Rules) {
        for it in &mut self.clients {
            it.forget_what_is_decided(rules);
        }
        let clients = &self.clients;
        for message in &mut self.under_way {
            let wants = clients[usize::from(message.of().client)].wants(rules, message);
            if let Some(awaited) = message.awaited() {
                *awaited &= wants;
                if !*awaited && let Some(age) = message.age() {
                    *age = 0;
                }
            }
        }
        self.under_way.retain(|message| {
            message.is_question() || clients[usize::from(message.of().client)].wants(rules, message)
        });
        self.under_way.sort_unstable();
        let mut outside = std::mem::take(&mut self.outside);
        outside.retain(|fence| self.held_or_possible().any(|other| other == *fence));
        self.outside = outside;
        let (clients, under_way) = (&self.clients, &self.under_way);
        self.store.forget_notes(|of| {
            let it = &clients[usize::from(of.client)];
            it.is_about(of) || under_way.iter().any(|message| message.of() == of)
        });
    }

    /// Makes states equal that differ only in the numbers of clients, and in the height of all
    /// fences. Then the search shows only whether a state is reachable, not by which path.
    pub(crate) fn fold(mut self) -> Self {
        let mut order: Vec<u8> = (0..).take(self.clients.len()).collect();
        order.sort_by_cached_key(|client| self.view_of(*client));
        let mut names = order.clone();
        for (new, old) in (0..).zip(&order) {
            names[usize::from(*old)] = new;
        }
        let rename = |of: Request| Request {
            client: names[usize::from(of.client)],
            ..of
        };
        let renamed = order
            .iter()
            .map(|old| self.clients[usize::from(*old)].renamed(rename));
        self.clients = renamed.collect();
        self.finished = self.finished.renamed(rename);
        let fences = self
            .store
            .fences()
            .into_iter()
            .chain(self.held_or_possible());
        let least = fences.min().unwrap_or_default();
        self.store = self.store.renamed(rename, least);
        for fence in &mut self.outside {
            *fence -= least;
        }
        for it in &mut self.clients {
            if let Phase::Holding(holding) = &mut it.phase {
                holding.fence -= least;
            }
        }
        for message in &mut self.under_way {
            *message.of_mut() = rename(message.of());
            if let Some(fence) = message.fence() {
                *fence -= least;
            }
        }
        self.under_way.sort_unstable();
        self
    }

    /// Returns the fences of valid holds, and of possible ones.
    fn held_or_possible(&self) -> impl Iterator<Item = u8> {
        let held = self.clients.iter().filter_map(|it| match it.phase {
            Phase::Holding(holding) => Some(holding.fence),
            _ => None,
        });
        let under_way = self.under_way.iter();
        held.chain(under_way.filter_map(|message| message.clone().fence().copied()))
    }

    /// Returns the state of a client without its number.
    fn view_of(&self, client: u8) -> impl Ord {
        let anonymous = |of: Request| Request { client: 0, ..of };
        let is_its = |of: Request| of.client == client;
        let under_way = self.under_way.iter().filter(|message| is_its(message.of()));
        let under_way: Vec<Message> = under_way
            .map(|message| {
                let mut message = *message;
                *message.of_mut() = anonymous(message.of());
                message
            })
            .collect();
        let it = self.clients[usize::from(client)].renamed(anonymous);
        (self.store.view_of(client), it, under_way)
    }
}
