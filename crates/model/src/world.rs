//! Clients, the store, and the messages between them.

mod arrival;
mod fold;
mod settle;

use crate::client::{Client, Ending, Phase, Waiting};
use crate::message::Message;
use crate::requests::{Request, Requests};
use crate::rule::{Rule, Rules};
use crate::store::Store;
use crate::{Bounds, Form, Invariant, LEASE, Protocol};

/// How often each kind of fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Left {
    /// Questions that are given up: they arrive later, or never, or their answer does not. A lost
    /// push is a push that stays late.
    pub losses: u8,
    /// Messages that arrive twice.
    pub doubles: u8,
    /// Holds that expire.
    pub expiries: u8,
    /// Clients that die.
    pub deaths: u8,
    /// Holds that an operator deletes.
    pub deletions: u8,
}

/// What happens next. Messages are named by their place among those under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A client sends its first acquire.
    Begin {
        /// Which client.
        client: u8,
        /// Whether it only tries.
        tries: bool,
    },
    /// A waiter polls.
    Poll(u8),
    /// A waiter gives up.
    Abandon(u8),
    /// A holder sends a renewal.
    Renew(u8),
    /// A holder releases.
    Release(u8),
    /// A client sends an end: which client, and which of its ends.
    SendEnd(u8, u8),
    /// A client dies.
    Die(u8),
    /// A message arrives.
    Deliver(u8, Message),
    /// A grant arrives when it is too old to be accepted.
    Miss(u8, Message),
    /// A question is given up.
    Lose(u8, Message),
    /// A message is sent twice.
    Double(u8, Message),
    /// Another client polls, and does not want the lock.
    OtherPolls,
    /// An operator deletes the key.
    Delete,
    /// A tick passes.
    Tick,
}

/// The state of clients, store and messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    clients: Vec<Client>,
    store: Store,
    /// Sorted, so that equal sets are equal.
    under_way: Vec<Message>,
    left: Left,
    /// Ended, as far as their clients know.
    finished: Requests,
    /// The fences of holds that an operator has deleted.
    outside: Vec<u8>,
}

impl World {
    pub(crate) fn new(clients: u8, left: Left) -> Self {
        Self {
            clients: vec![Client::default(); clients.into()],
            store: Store::default(),
            under_way: Vec::new(),
            left,
            finished: Requests::default(),
            outside: Vec::new(),
        }
    }

    /// Returns the violated invariants.
    pub(crate) fn violated(&self) -> impl Iterator<Item = Invariant> {
        let held = self.clients.iter().filter_map(|client| match client.phase {
            Phase::Holding(holding) => Some(holding.fence),
            _ => None,
        });
        let held = held.filter(|fence| !self.outside.contains(fence));
        let stands = |fence| self.store.stands(fence);
        let is_mutex = held.clone().count() <= 1;
        let is_lost = held.clone().all(stands);
        let is_clean = !self.store.any(|of| self.finished.contains(of));
        let found = [
            (!is_lost).then_some(Invariant::Lost),
            (!is_mutex).then_some(Invariant::Mutex),
            (!is_clean).then_some(Invariant::Clean),
            self.store.violated,
        ];
        found.into_iter().flatten()
    }

    pub(crate) fn actions(&self, of: &Protocol, actions: &mut Vec<Action>) {
        if of.form == Form::Settled {
            if let Some(of_grant) = self.actions_on_grant() {
                actions.extend(of_grant);
                return;
            }
            actions.extend(self.store.hold().is_none().then_some(Action::OtherPolls));
        }
        for (client, it) in (0..).zip(&self.clients) {
            if !it.is_dead {
                self.actions_of(client, it, &of.bounds, actions);
            }
        }
        for (n, message) in (0..).zip(&self.under_way) {
            if 0 < n && self.under_way[usize::from(n) - 1] == *message {
                continue;
            }
            self.fates(of.form, n, *message, actions);
        }
        if 0 < self.left.deletions && self.store.hold().is_some() {
            actions.push(Action::Delete);
        }
        let is_last = |hold: crate::store::Hold| hold.left == 1;
        if 0 < self.left.expiries || !self.store.hold().is_some_and(is_last) {
            actions.push(Action::Tick);
        }
    }

    fn actions_of(&self, client: u8, it: &Client, bounds: &Bounds, actions: &mut Vec<Action>) {
        match it.phase {
            Phase::Idle if it.begun < bounds.requests => {
                let tries = false;
                actions.push(Action::Begin { client, tries });
                if bounds.tries {
                    let tries = true;
                    actions.push(Action::Begin { client, tries });
                }
            }
            Phase::Idle => {}
            Phase::Waiting(waiting) => {
                if !waiting.asked {
                    actions.push(Action::Poll(client));
                }
                actions.push(Action::Abandon(client));
            }
            Phase::Holding(holding) => {
                if !holding.renewing && holding.left < LEASE {
                    actions.push(Action::Renew(client));
                }
                actions.push(Action::Release(client));
            }
        }
        for (n, ending) in (0..).zip(&it.ends) {
            if !ending.asked {
                actions.push(Action::SendEnd(client, n));
            }
        }
        if 0 < self.left.deaths && 0 < it.begun {
            actions.push(Action::Die(client));
        }
    }

    fn fates(&self, form: Form, n: u8, message: Message, actions: &mut Vec<Action>) {
        actions.push(Action::Deliver(n, message));
        if form == Form::Settled && matches!(message, Message::End { .. }) {
            return;
        }
        let awaited = message.clone().awaited().is_some_and(|awaited| *awaited);
        if 0 < self.left.losses && awaited {
            actions.push(Action::Lose(n, message));
        }
        if 0 < self.left.doubles && (awaited || matches!(message, Message::Push { .. })) {
            actions.push(Action::Double(n, message));
        }
    }

    pub(crate) fn take(&mut self, rules: Rules, action: Action) {
        match action {
            Action::Begin { client, tries } => self.begin(rules, client, tries),
            Action::Poll(client) => self.look(client),
            Action::Abandon(client) | Action::Release(client) => self.end(client),
            Action::Renew(client) => self.renew(client),
            Action::SendEnd(client, n) => self.send_end(client, n),
            Action::Die(client) => {
                self.left.deaths -= 1;
                let begun = self.clients[usize::from(client)].begun;
                self.clients[usize::from(client)] = Client {
                    begun,
                    is_dead: true,
                    ..Client::default()
                };
            }
            Action::Deliver(n, _) => {
                let message = self.under_way.remove(n.into());
                self.deliver(rules, message);
            }
            Action::Miss(n, _) => {
                let message = self.under_way.remove(n.into());
                self.miss(message);
            }
            Action::Lose(n, _) => {
                self.left.losses -= 1;
                let mut message = self.under_way.remove(n.into());
                self.unanswered(rules, message);
                if let Some(awaited) = message.awaited() {
                    *awaited = false;
                }
                self.under_way.push(message);
            }
            Action::Double(n, _) => self.double(rules, n),
            Action::OtherPolls => self.step(rules, |step| step.other_polls()),
            Action::Delete => {
                self.left.deletions -= 1;
                let deleted = self.store.delete().map(|hold| hold.fence);
                self.outside.extend(deleted);
            }
            Action::Tick => self.tick(rules),
        }
        self.tidy(rules);
    }

    fn begin(&mut self, rules: Rules, client: u8, tries: bool) {
        let it = &mut self.clients[usize::from(client)];
        let per_request = rules.keep(Rule::IdsArePerRequest);
        let number = if per_request { it.begun } else { 0 };
        let of = Request { client, number };
        it.begun += 1;
        it.phase = Phase::Waiting(Waiting {
            of,
            tries,
            first: 0,
            lag: None,
            asked: false,
            unanswered: false,
        });
        self.finished.remove(of);
        self.look(client);
    }

    fn look(&mut self, client: u8) {
        let it = &mut self.clients[usize::from(client)];
        let Phase::Waiting(waiting) = &mut it.phase else {
            return;
        };
        waiting.asked = true;
        self.under_way.push(Message::Acquire {
            of: waiting.of,
            ticket: waiting.lag.is_some(),
            tries: waiting.tries,
            age: 0,
            awaited: true,
        });
    }

    fn renew(&mut self, client: u8) {
        let it = &mut self.clients[usize::from(client)];
        let Phase::Holding(holding) = &mut it.phase else {
            return;
        };
        holding.renewing = true;
        self.under_way.push(Message::Renew {
            of: holding.of,
            fence: holding.fence,
            age: 0,
            awaited: true,
        });
    }

    /// Releases, or leaves the queue; the rest happens in the background.
    fn end(&mut self, client: u8) {
        let it = &mut self.clients[usize::from(client)];
        let (of, left, tombstone) = match it.phase {
            Phase::Idle => return,
            Phase::Waiting(it) => (it.of, 0, it.unanswered || it.asked),
            Phase::Holding(it) => (it.of, it.left, it.unanswered),
        };
        it.phase = Phase::Idle;
        it.ends.push(Ending {
            of,
            left,
            tombstone,
            asked: false,
            repeated: false,
            freed: false,
        });
    }

    fn send_end(&mut self, client: u8, n: u8) {
        let ending = &mut self.clients[usize::from(client)].ends[usize::from(n)];
        ending.asked = true;
        self.under_way.push(Message::End {
            of: ending.of,
            tombstone: ending.tombstone,
            awaited: true,
        });
    }

    /// Sends a message twice: by the protocol, which records it, or below it.
    fn double(&mut self, rules: Rules, n: u8) {
        self.left.doubles -= 1;
        let mut copy = self.under_way[usize::from(n)];
        if let Some(awaited) = copy.awaited() {
            *awaited = false;
        }
        self.under_way.push(copy);
        if !rules.keep(Rule::OnlyTheProtocolRepeats) {
            return;
        }
        let of = copy.of();
        let it = &mut self.clients[usize::from(of.client)];
        match (copy, &mut it.phase) {
            (Message::Acquire { .. }, Phase::Waiting(waiting)) => waiting.unanswered = true,
            (Message::End { .. }, _) => {
                for ending in it.ends.iter_mut().filter(|ending| ending.of == of) {
                    ending.repeated = true;
                }
            }
            _ => {}
        }
    }

    /// Applies a missing answer to the client.
    fn unanswered(&mut self, rules: Rules, message: Message) {
        let of = message.of();
        let it = &mut self.clients[usize::from(of.client)];
        match message {
            Message::Acquire { .. } => {
                if let Phase::Waiting(waiting) = &mut it.phase {
                    waiting.asked = false;
                    waiting.unanswered = true;
                }
            }
            Message::Renew { .. } => {
                if let Phase::Holding(holding) = &mut it.phase {
                    holding.renewing = false;
                    if !rules.keep(Rule::UnansweredIsUnknown) {
                        holding.left = LEASE;
                    }
                }
            }
            Message::End { .. } => {
                let is_it = |ending: &&mut Ending| ending.of == of && ending.asked;
                if let Some(ending) = it.ends.iter_mut().find(is_it) {
                    ending.asked = false;
                    ending.repeated = true;
                }
                if !rules.keep(Rule::EndsAreRepeated) {
                    it.ends.retain(|ending| ending.of != of);
                    self.finished.insert(of);
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self, rules: Rules) {
        if self.store.tick() {
            self.left.expiries -= 1;
        }
        for message in &mut self.under_way {
            if let Some(age) = message.age() {
                *age = (*age + 1).min(LEASE);
            }
        }
        for client in 0..self.clients.len() {
            let it = &mut self.clients[client];
            for ending in &mut it.ends {
                ending.left = ending.left.saturating_sub(1);
            }
            match &mut it.phase {
                Phase::Waiting(waiting) => waiting.first = (waiting.first + 1).min(LEASE),
                Phase::Holding(holding) => {
                    holding.left -= 1;
                    if holding.left == 0 {
                        self.lose(rules, client as u8);
                    }
                }
                Phase::Idle => {}
            }
        }
    }
}
