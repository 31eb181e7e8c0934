//! Random requests, for tests that compare a store with the core in memory.

use std::num::NonZeroU32;
use std::sync::Arc;

use arbiter_lock_core::{
    Acquired, Answer, Contender, Limit, Mode, Moment, Renewal, Reply, Request, Tried,
};

/// A small generator, whose seed determines everything.
pub(in crate::store) struct Dice(u64);

impl Dice {
    /// Makes a generator from `ARBITER_TEST_SEED`, or from a random seed, which it prints.
    pub(in crate::store) fn from_environment() -> Self {
        let seed = std::env::var("ARBITER_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| rand::random::<u64>() | 1);
        println!("ARBITER_TEST_SEED={seed}");
        Self(seed)
    }

    pub(in crate::store) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    pub(in crate::store) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let sides = of.len().max(1) as u64;
        of.get(self.roll(sides) as usize).copied()
    }

    fn number(&mut self, most: u64) -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(self.roll(most) as u32)
    }
}

/// The mix of requests for a while.
#[derive(Clone, Copy)]
enum Season {
    Mixed,
    /// Most want to hold alone, and wait.
    Queue,
    /// Most share, and stay.
    Readers,
    /// Most share under a limit.
    Permits,
}

/// Random requests of a few clients. They know the latest tickets and holds.
pub(in crate::store) struct RandomRequests {
    pub(in crate::store) dice: Dice,
    clients: u64,
    /// The channel of a client.
    channel: Box<dyn Fn(u64) -> Arc<str>>,
    season: Season,
    holds: Vec<(Arc<str>, u64)>,
    tickets: Vec<u64>,
}

/// How many tickets and holds are remembered for each client.
const RECENT: usize = 2;

impl RandomRequests {
    pub(in crate::store) fn new(
        dice: Dice,
        clients: u64,
        channel: impl Fn(u64) -> Arc<str> + 'static,
    ) -> Self {
        Self {
            dice,
            clients,
            channel: Box::new(channel),
            season: Season::Mixed,
            holds: Vec::new(),
            tickets: Vec::new(),
        }
    }

    /// Returns the id of a random client.
    pub(in crate::store) fn id(&mut self) -> Arc<str> {
        format!("r{}", self.dice.roll(self.clients)).into()
    }

    /// Returns the owner and the fence of a hold, mostly of a recent grant.
    pub(in crate::store) fn hold(&mut self) -> (Arc<str>, u64) {
        let n = self.dice.roll(self.holds.len().max(1) as u64) as usize;
        match self.holds.get(n) {
            None => (self.id(), 7),
            Some(hold) if self.dice.roll(4) != 0 => hold.clone(),
            Some((_, fence)) => {
                let fence = *fence;
                (self.id(), fence)
            }
        }
    }

    pub(in crate::store) fn ticket(&mut self) -> u64 {
        self.dice.pick(&self.tickets).unwrap_or(7)
    }

    /// Returns how many microseconds pass before the next request.
    pub(in crate::store) fn pause(&mut self) -> u64 {
        match (self.season, self.dice.roll(50)) {
            (Season::Mixed, 0) => 70_000_000,
            (_, 0) => [61_000_000, 25_000_000, 25_000_000][self.dice.roll(3) as usize],
            (Season::Mixed, 1..=5) | (_, 1) => 3_000_000,
            (Season::Mixed, 6..=20) | (_, 2..=4) => 300_000,
            (_, 6..=25) => 1_000,
            (_, 26..=30) => 1,
            _ => 0,
        }
    }

    pub(in crate::store) fn contender(&mut self) -> Contender {
        let client = self.dice.roll(self.clients);
        Contender {
            id: format!("r{client}").into(),
            mode: self.mode(),
            lease_ms: 100 + 700 * self.dice.roll(10),
            channel: (self.channel)(client),
            label: format!("l{client}").into(),
        }
    }

    fn mode(&mut self) -> Mode {
        let shared = |weight, limit| Mode::Shared { weight, limit };
        let (four, one) = (NonZeroU32::MIN.saturating_add(3), NonZeroU32::MIN);
        match (self.season, self.dice.roll(10)) {
            (Season::Queue, 0..=6) | (Season::Mixed, 0..=3) | (_, 0) => Mode::Exclusive,
            (Season::Readers, _) | (Season::Mixed, 4 | 5) => shared(one, Limit::Unlimited),
            (_, 1..=6) => shared(self.dice.number(3), Limit::Stated(four)),
            (_, 7 | 8) => shared(self.dice.number(3), Limit::Followed(four)),
            _ => shared(self.dice.number(2), Limit::Stated(self.dice.number(4))),
        }
    }

    fn renewal(&mut self, lease_ms: u64) -> Renewal {
        let (owner, fence) = self.hold();
        Renewal {
            owner,
            fence,
            lease_ms,
            may_share: true,
        }
    }

    /// Draws a request.
    pub(in crate::store) fn request(&mut self) -> Request {
        if self.dice.roll(80) == 0 {
            let seasons = [
                Season::Mixed,
                Season::Queue,
                Season::Readers,
                Season::Permits,
            ];
            self.season = self.dice.pick(&seasons).unwrap_or(Season::Mixed);
        }
        let memory_ms = 5_000;
        match self.dice.roll(if let Season::Mixed = self.season {
            52
        } else {
            90
        }) {
            0..=15 | 52.. => self.acquire(),
            16..=19 => Request::TryAcquire(self.contender().into()),
            20..=24 => {
                let lease_ms = 100 + 700 * self.dice.roll(10);
                Request::Renew(self.renewal(lease_ms))
            }
            25..=34 => self.end(),
            35 | 36 => Request::Break {
                fence: self.hold().1,
                at_once: self.dice.roll(2) == 0,
            },
            37..=39 => Request::Inspect,
            40 => Request::Downgrade(self.renewal(900)),
            41 => {
                let (owner, fence) = self.hold();
                let to = self.contender().into();
                Request::Transfer { owner, fence, to }
            }
            42 => Request::Resize(self.dice.number(6)),
            43 | 44 => {
                let (owner, fence) = self.hold();
                Request::Proclaim {
                    owner,
                    fence,
                    value: "value".into(),
                }
            }
            45..=47 => {
                let (owner, fence) = self.hold();
                Request::BeginRun {
                    owner,
                    fence,
                    turn: Moment::from_micros(fence),
                    memory_ms,
                }
            }
            48 | 49 => Request::FinishRun {
                fence: self.hold().1,
                outcome: "0".into(),
            },
            50 => Request::ForgetRun {
                fence: self.hold().1,
            },
            _ => Request::LastRun,
        }
    }

    fn acquire(&mut self) -> Request {
        let carries = self.dice.roll(4) == 0;
        Request::Acquire {
            contender: self.contender().into(),
            ticket: carries.then(|| self.ticket()),
        }
    }

    fn end(&mut self) -> Request {
        let (owner, _) = self.hold();
        let id = if self.dice.roll(2) == 0 {
            owner
        } else {
            self.id()
        };
        Request::End {
            contender: Contender::with_id(id).into(),
            tombstone: self.dice.roll(6) == 0,
        }
    }

    /// Remembers the holds and tickets of an answer.
    pub(in crate::store) fn learn(&mut self, request: &Request, answer: &Answer<Reply>) {
        let grants = answer.granted.iter();
        let grants = grants.map(|grant| (grant.request.clone(), grant.fence));
        self.holds.extend(grants);
        let (Request::Acquire { contender, .. } | Request::TryAcquire(contender)) = request else {
            return;
        };
        match &answer.reply {
            Reply::Acquired(Acquired::Granted { fence, .. })
            | Reply::Tried(Tried::Granted { fence, .. }) => {
                self.holds.push((contender.id.clone(), *fence));
            }
            Reply::Acquired(Acquired::Queued { ticket, .. }) => self.tickets.push(*ticket),
            _ => {}
        }
        let kept = RECENT * self.clients as usize;
        self.holds.drain(..self.holds.len().saturating_sub(kept));
        self.tickets
            .drain(..self.tickets.len().saturating_sub(kept));
    }
}
