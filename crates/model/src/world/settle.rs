//! Settles steps that can as well happen now, so far fewer states represent all.
//!
//! Each point moves a step past others that it does not affect, or allows more than the states that
//! it represents. All points rely on the rules.
//!
//! - Answers arrive at once. Time is counted from the question, so a late answer is a late
//!   question, of a client that takes no step until then.
//! - An answer that is a grant arrives at once, or when it is too old. In between, the hold would
//!   be valid for a part of the same time.
//! - Ends are sent at once: an end that is under way for long is an end that is sent late. They are
//!   neither lost nor doubled: the first to arrive does all that they can do. A request without a
//!   hold and a place counts as ended.
//! - Questions that can only hand off a free lock are forgotten, since another client may poll at
//!   any time. So is a request that only such questions are about.
//!
//! RETRY is about the answers to repeated ends, so it is not checked.

use super::{Action, Left, World};
use crate::PROVISIONAL_TTL;
use crate::message::Message;
use crate::requests::{Request, Requests};
use crate::rule::Rules;

impl World {
    pub(crate) fn settle(mut self, rules: Rules) -> Self {
        loop {
            self.send_ends();
            self.tidy(rules);
            let is_heard = |message: &Message| {
                !matches!(message, Message::Granted { .. } | Message::Push { .. })
                    && !message.is_question()
            };
            let Some(n) = self.under_way.iter().position(is_heard) else {
                break;
            };
            let answer = self.under_way.remove(n);
            self.deliver(rules, answer);
        }
        self.forget_useless_questions();
        self.forget_what_nothing_asks_for();
        self.tidy(rules);
        self
    }

    /// Returns the actions on a grant, if the last answer was one: it arrives, or is missed.
    pub(super) fn actions_on_grant(&self) -> Option<[Action; 2]> {
        let mut under_way = (0..).zip(&self.under_way);
        let granted = under_way.find(|(_, message)| matches!(message, Message::Granted { .. }));
        granted.map(|(n, message)| [Action::Deliver(n, *message), Action::Miss(n, *message)])
    }

    /// Returns all settled states that represent this one. They leave open which losses and doubles
    /// had no effect, and whether a missed push is still under way.
    pub(crate) fn settlements(&self, rules: Rules, most: Left) -> Vec<Self> {
        let mut unsettled = vec![self.clone().settle(rules)];
        let mut settled = Vec::new();
        while let Some(world) = unsettled.pop() {
            match world.actions_on_grant() {
                Some(actions) => unsettled.extend(actions.map(|action| {
                    let mut next = world.clone();
                    next.take(rules, action);
                    next.settle(rules)
                })),
                None => settled.push(world),
            }
        }
        for n in 0..settled.len() {
            let pushed = settled[n].store.hold().map(|hold| Message::Push {
                of: hold.of,
                fence: hold.fence,
                ttl: PROVISIONAL_TTL,
                age: 0,
            });
            let mut missed = settled[n].clone();
            missed.under_way.extend(pushed);
            missed.tidy(rules);
            settled.push(missed);
        }
        let mut all = Vec::new();
        for world in settled {
            for losses in self.left.losses..=most.losses {
                for doubles in self.left.doubles..=most.doubles {
                    let mut world = world.clone();
                    (world.left.losses, world.left.doubles) = (losses, doubles);
                    all.push(world.fold());
                }
            }
        }
        all
    }

    fn send_ends(&mut self) {
        for client in 0..self.clients.len() {
            for n in 0..self.clients[client].ends.len() {
                if !self.clients[client].ends[n].asked {
                    self.send_end(client as u8, n as u8);
                }
            }
        }
    }

    fn forget_useless_questions(&mut self) {
        let store = &self.store;
        self.under_way.retain(|message| match *message {
            Message::Acquire { of, awaited, .. } => awaited || !store.is_ended(of),
            Message::Renew { fence, awaited, .. } => awaited || store.stands(fence),
            _ => true,
        });
        let acquired = self.acquired(|_| true);
        let has_ended = |of: Request| !store.any(|other| other == of) && !acquired.contains(of);
        for it in &mut self.clients {
            for ending in it.ends.extract_if(.., |ending| has_ended(ending.of)) {
                self.finished.insert(ending.of);
            }
        }
        let clients = &self.clients;
        self.under_way.retain(|message| match *message {
            Message::End { of, awaited, .. } => {
                let is_repeated = !awaited && clients[usize::from(of.client)].is_about(of);
                !has_ended(of) && !is_repeated
            }
            _ => true,
        });
    }

    fn forget_what_nothing_asks_for(&mut self) {
        let acquired = self.acquired(|_| true);
        let unheard = self.acquired(|awaited| !awaited);
        for it in &mut self.clients {
            it.forget_unanswered(acquired, unheard);
        }
        for message in &mut self.under_way {
            if let Message::End { of, tombstone, .. } = message {
                *tombstone &= acquired.contains(*of);
            }
        }
        let clients = &self.clients;
        self.store.forget_marks(|of| {
            acquired.contains(of) || clients[usize::from(of.client)].waits_for(of)
        });
        if self.left.expiries == 0 {
            self.store.forget_the_last_grant();
        }
    }

    /// Returns the requests with acquires under way, awaited or not.
    fn acquired(&self, is_such: impl Fn(bool) -> bool) -> Requests {
        let under_way = self.under_way.iter();
        let acquired = under_way.filter_map(|message| match *message {
            Message::Acquire { of, awaited, .. } if is_such(awaited) => Some(of),
            _ => None,
        });
        acquired.collect()
    }
}
