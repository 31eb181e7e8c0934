//! Arrivals of messages, at the store and at a client.

use super::World;
use crate::client::{Ending, Holding, Phase};
use crate::message::Message;
use crate::requests::Request;
use crate::rule::{Rule, Rules};
use crate::store::{Acquired, Step};
use crate::{Invariant, LEASE, PROVISIONAL_TTL};

impl World {
    pub(super) fn deliver(&mut self, rules: Rules, message: Message) {
        match message {
            Message::Acquire {
                of,
                ticket,
                tries,
                age,
                awaited,
            } => {
                let answer = self.step(rules, |step| step.acquire(of, ticket, tries));
                if awaited {
                    self.under_way.push(match answer {
                        Acquired::Granted(hold) => Message::Granted {
                            of,
                            fence: hold.fence,
                            ttl: hold.left,
                            age,
                        },
                        Acquired::Queued => Message::Queued { of, lag: age },
                        Acquired::Busy => Message::Busy { of },
                        Acquired::Ended => Message::Ended { of },
                    });
                }
            }
            Message::Renew {
                of,
                fence,
                age,
                awaited,
            } => {
                let is_ours = self.store.renew(rules, of, fence);
                if awaited {
                    self.under_way.push(match is_ours {
                        true => Message::Renewed { of, fence, age },
                        false => Message::NotYours { of, fence },
                    });
                }
            }
            Message::End {
                of,
                tombstone,
                awaited,
            } => {
                let held = self.store.hold().is_some_and(|hold| hold.of == of);
                let ended = self.step(rules, |step| step.end(of, tombstone));
                let it = &mut self.clients[usize::from(of.client)];
                for ending in it.ends.iter_mut().filter(|ending| ending.of == of) {
                    ending.freed |= held;
                }
                if awaited {
                    self.under_way.push(Message::EndAnswered { of, ended });
                }
            }
            answer => self.hear(rules, answer),
        }
    }

    pub(super) fn step<T>(
        &mut self,
        rules: Rules,
        take: impl FnOnce(Step<'_>) -> crate::store::Answer<T>,
    ) -> T {
        let clients = &self.clients;
        let answer = take(Step {
            store: &mut self.store,
            rules,
            listens: &|of| !clients[usize::from(of.client)].is_dead,
            pushed: Vec::new(),
        });
        for hold in answer.pushed {
            self.under_way.push(Message::Push {
                of: hold.of,
                fence: hold.fence,
                ttl: hold.left,
                age: 0,
            });
        }
        answer.reply
    }

    fn hear(&mut self, rules: Rules, message: Message) {
        let of = message.of();
        let client = of.client;
        let it = &mut self.clients[usize::from(client)];
        match (message, &mut it.phase) {
            (
                Message::Granted {
                    fence, ttl, age, ..
                },
                Phase::Waiting(waiting),
            ) => {
                waiting.asked = false;
                let age = if rules.keep(Rule::DeadlineFromTheSend) {
                    age
                } else {
                    0
                };
                self.accept(rules, client, fence, ttl, age);
            }
            (
                Message::Push {
                    fence, ttl, age, ..
                },
                Phase::Waiting(waiting),
            ) => {
                let age = match waiting.lag {
                    _ if !rules.keep(Rule::PushesAreDated) => 0,
                    Some(lag) => age + lag,
                    None => waiting.first,
                };
                self.accept(rules, client, fence, ttl, age);
            }
            (Message::Push { fence, .. }, Phase::Holding(holding)) if holding.fence < fence => {
                self.lose(rules, client);
            }
            (Message::Queued { lag, .. }, Phase::Waiting(waiting)) => {
                waiting.asked = false;
                waiting.lag = Some(waiting.lag.unwrap_or(lag).min(lag));
            }
            (Message::Busy { .. }, Phase::Waiting(waiting)) => {
                if waiting.unanswered {
                    waiting.asked = false;
                    self.end(client);
                } else {
                    it.phase = Phase::Idle;
                    self.finished.insert(of);
                }
            }
            (Message::Ended { .. }, Phase::Waiting(_)) => self.end(client),
            (Message::Renewed { age, .. }, Phase::Holding(holding)) => {
                holding.renewing = false;
                let age = if rules.keep(Rule::DeadlineFromTheSend) {
                    age
                } else {
                    0
                };
                holding.left = holding.left.max(LEASE.saturating_sub(age));
            }
            (Message::NotYours { .. }, Phase::Holding(_)) => self.lose(rules, client),
            (Message::EndAnswered { ended, .. }, _) => self.hear_end(rules, of, ended),
            _ => {}
        }
    }

    fn hear_end(&mut self, rules: Rules, of: Request, ended: bool) {
        let it = &mut self.clients[usize::from(of.client)];
        let is_it = |ending: &Ending| ending.of == of && ending.asked;
        let Some(n) = it.ends.iter().position(is_it) else {
            return;
        };
        let ending = it.ends.remove(n);
        self.finished.insert(of);
        let repeated = ending.repeated && rules.keep(Rule::OwnRepeatsAreKnown);
        let is_told_lost = !ended && !repeated && 0 < ending.left;
        if is_told_lost && ending.freed {
            self.store.violated.get_or_insert(Invariant::Retry);
        }
    }

    /// Receives a grant that is too old.
    pub(super) fn miss(&mut self, message: Message) {
        let it = &mut self.clients[usize::from(message.of().client)];
        if let (Message::Granted { .. }, Phase::Waiting(waiting)) = (message, &mut it.phase) {
            waiting.asked = false;
        }
    }

    /// Accepts a grant, unless it is too old.
    fn accept(&mut self, rules: Rules, client: u8, fence: u8, ttl: u8, age: u8) {
        let it = &mut self.clients[usize::from(client)];
        let Phase::Waiting(waiting) = it.phase else {
            return;
        };
        let is_first = ttl == PROVISIONAL_TTL && !rules.keep(Rule::ProvisionalTtlIsShort);
        let ttl = if is_first { LEASE } else { ttl };
        if ttl <= age {
            return;
        }
        let of = waiting.of;
        it.phase = Phase::Holding(Holding {
            of,
            fence,
            left: ttl - age,
            renewing: false,
            unanswered: waiting.unanswered || waiting.asked,
        });
    }

    pub(super) fn lose(&mut self, rules: Rules, client: u8) {
        let it = &mut self.clients[usize::from(client)];
        let Phase::Holding(holding) = &mut it.phase else {
            return;
        };
        holding.left = 0;
        let of = holding.of;
        if rules.keep(Rule::LostHoldsAreEnded) {
            self.end(client);
        } else {
            it.phase = Phase::Idle;
            self.finished.insert(of);
        }
    }
}
