//! What is yet to come, but comes to the same now, is settled now: far fewer states stand for all.
//!
//! Each point moves a step in time past others that it does not touch, or leaves more open than
//! what it stands for. All rely on the rules being kept.
//!
//! - Answers are heard at once. Time is counted from the sending of the question, so an answer that
//!   comes late is a question that comes late, of a client that takes no step until then.
//! - The answer that is a grant is heard at once, or when it is too old: in between, it would be
//!   believed for a part of the same time.
//! - Ends are sent at once: one that is under way for long is one that is sent late. They are
//!   neither lost nor doubled: the first to arrive does all that they can do, and what has nothing
//!   left to end counts as ended.
//! - Questions that can only hand over a free lock are forgotten, since somebody may come by a free
//!   lock at any time; and so is what only such questions could ask for.
//!
//! RETRY is about the answers to repeated ends, and so is not judged.

use super::{Action, Left, World};
use crate::FIRST_LIFE;
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
        self.forget_questions_in_vain();
        self.forget_what_nothing_asks_for();
        self.tidy(rules);
        self
    }

    /// Whether a grant is heard of, if one has just been the answer.
    pub(super) fn actions_on_grant(&self) -> Option<[Action; 2]> {
        let mut under_way = (0..).zip(&self.under_way);
        let granted = under_way.find(|(_, message)| matches!(message, Message::Granted { .. }));
        granted.map(|(n, message)| [Action::Deliver(n, *message), Action::Miss(n, *message)])
    }

    /// All that stands for this when it is settled. Which losses and doubles have come to nothing
    /// is open, and so is whether a push is still under way that has been missed.
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
                life: FIRST_LIFE,
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

    fn forget_questions_in_vain(&mut self) {
        let store = &self.store;
        self.under_way.retain(|message| match *message {
            Message::Acquire { of, heard, .. } => heard || !store.is_ended(of),
            Message::Renew { fence, heard, .. } => heard || store.stands(fence),
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
            Message::End { of, heard, .. } => {
                let is_repeated = !heard && clients[usize::from(of.client)].is_about(of);
                !has_ended(of) && !is_repeated
            }
            _ => true,
        });
    }

    fn forget_what_nothing_asks_for(&mut self) {
        let acquired = self.acquired(|_| true);
        let unheard = self.acquired(|heard| !heard);
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
        if self.left.lapses == 0 {
            self.store.forget_the_last_grant();
        }
    }

    /// What acquires are under way for, of those that are still heard or not.
    fn acquired(&self, is_such: impl Fn(bool) -> bool) -> Requests {
        let under_way = self.under_way.iter();
        let acquired = under_way.filter_map(|message| match *message {
            Message::Acquire { of, heard, .. } if is_such(heard) => Some(of),
            _ => None,
        });
        acquired.collect()
    }
}
