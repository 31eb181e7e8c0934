//! A client: its phase, and its pending releases.

use crate::PROVISIONAL_TTL;
use crate::message::Message;
use crate::requests::{Request, Requests};
use crate::rule::{Rule, Rules};

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Client {
    /// How many requests it has begun.
    pub(crate) begun: u8,
    pub(crate) phase: Phase,
    /// In the background.
    pub(crate) ends: Vec<Ending>,
    pub(crate) is_dead: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Waiting(Waiting),
    Holding(Holding),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Waiting {
    pub(crate) of: Request,
    pub(crate) tries: bool,
    /// Ticks since the first question was sent.
    pub(crate) first: u8,
    /// The least time from question to answer so far.
    pub(crate) lag: Option<u8>,
    /// A question is under way.
    pub(crate) asked: bool,
    /// A question was never answered.
    pub(crate) unanswered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Holding {
    pub(crate) of: Request,
    pub(crate) fence: u8,
    /// Ticks until the deadline, by the holder's own clock.
    pub(crate) left: u8,
    /// A renewal is under way.
    pub(crate) renewing: bool,
    /// A question of the acquire was never answered.
    pub(crate) unanswered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ending {
    pub(crate) of: Request,
    /// Ticks until the deadline, if the hold was valid until it was released.
    pub(crate) left: u8,
    pub(crate) tombstone: bool,
    pub(crate) asked: bool,
    /// It was sent more than once.
    pub(crate) repeated: bool,
    /// One of its sends freed the hold; only the invariants read it.
    pub(crate) freed: bool,
}

impl Client {
    /// Returns whether it holds, waits, or has yet to end that request.
    pub(crate) fn is_about(&self, of: Request) -> bool {
        let now = match self.phase {
            Phase::Idle => None,
            Phase::Waiting(waiting) => Some(waiting.of),
            Phase::Holding(holding) => Some(holding.of),
        };
        now == Some(of) || self.ends.iter().any(|ending| ending.of == of)
    }

    /// Forgets facts that no further step depends on.
    pub(crate) fn forget_what_is_decided(&mut self, rules: Rules) {
        if let Phase::Waiting(waiting) = &mut self.phase
            && waiting.lag.is_some()
        {
            waiting.first = 0;
        }
        let knows_repeats = rules.keep(Rule::OwnRepeatsAreKnown);
        for ending in &mut self.ends {
            if ending.left == 0 || ending.repeated && knows_repeats {
                (ending.left, ending.freed) = (0, false);
            }
        }
    }

    pub(crate) fn waits_for(&self, of: Request) -> bool {
        matches!(self.phase, Phase::Waiting(waiting) if waiting.of == of)
    }

    /// Forgets that an acquire is unanswered, if none is under way any more, and facts that only
    /// RETRY needs. Times of a provisional TTL or more are equal, since no longer one is pushed.
    pub(crate) fn forget_unanswered(&mut self, acquired: Requests, unheard: Requests) {
        match &mut self.phase {
            Phase::Idle => {}
            Phase::Waiting(waiting) => {
                waiting.unanswered &= unheard.contains(waiting.of);
                waiting.first = waiting.first.min(PROVISIONAL_TTL);
                waiting.lag = waiting.lag.map(|lag| lag.min(PROVISIONAL_TTL));
            }
            Phase::Holding(holding) => holding.unanswered &= unheard.contains(holding.of),
        }
        for ending in &mut self.ends {
            ending.tombstone &= acquired.contains(ending.of);
            (ending.left, ending.repeated, ending.freed) = (0, false, false);
        }
    }

    pub(crate) fn renamed(&self, rename: impl Fn(Request) -> Request) -> Self {
        let mut renamed = self.clone();
        match &mut renamed.phase {
            Phase::Idle => {}
            Phase::Waiting(waiting) => waiting.of = rename(waiting.of),
            Phase::Holding(holding) => holding.of = rename(holding.of),
        }
        for ending in &mut renamed.ends {
            ending.of = rename(ending.of);
        }
        renamed
    }

    /// Returns whether an answer or a push makes a difference to it, or the answer to a question
    /// would.
    pub(crate) fn wants(&self, rules: Rules, message: &Message) -> bool {
        let of = message.of();
        match (*message, self.phase) {
            _ if self.is_dead => false,
            (Message::End { .. } | Message::EndAnswered { .. }, _) => self
                .ends
                .iter()
                .any(|ending| ending.of == of && ending.asked),
            (Message::Push { ttl, age, .. }, Phase::Waiting(waiting)) => {
                waiting.of == of && (age < ttl || !rules.keep(Rule::PushesAreDated))
            }
            (_, Phase::Waiting(waiting)) => waiting.of == of && waiting.asked,
            (Message::Push { fence, .. }, Phase::Holding(holding)) => {
                holding.of == of && holding.fence < fence
            }
            (
                Message::Renew { fence, .. }
                | Message::Renewed { fence, .. }
                | Message::NotYours { fence, .. },
                Phase::Holding(holding),
            ) => holding.of == of && holding.fence == fence && holding.renewing,
            _ => false,
        }
    }
}
