//! A model of the protocol (`docs/protocol.md`): clients, a store, and messages between them that
//! are late, lost, doubled and overtake each other. The search visits all that can happen within
//! stated bounds, and checks each state against the invariants.
//!
//! Time passes in ticks. A client that takes no step for a while is a stopped client, so pauses
//! need no bound. Neither does the delay of a message. Each [rule](Rule) can be broken on purpose.
//! Then the search must find a violation.

mod bounds;
mod client;
mod message;
mod requests;
mod rule;
mod search;
mod store;
mod world;

use stateright::{Model, Property};

pub use bounds::Bounds;
pub use message::Message;
pub use requests::Request;
pub use rule::{Rule, Rules};
pub use search::{Searched, Violation};
pub use world::{Action, Left, World};

/// The ticks of a lease.
pub(crate) const LEASE: u8 = 2;
/// The ticks of a grant that its holder has not claimed.
pub(crate) const PROVISIONAL_TTL: u8 = 1;
/// How many ticks ago a live waiter has polled at most.
pub(crate) const LIVE: u8 = 1;

/// The protocol within bounds, perhaps with a rule broken.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The possible actions and faults.
    pub bounds: Bounds,
    /// Which rules are kept.
    pub rules: Rules,
    /// Which states count as equal.
    pub form: Form,
    /// An invariant that is not checked, so that the search continues past its violations.
    pub ignored: Option<Invariant>,
}

/// Which states count as equal. The fewer different ones there are, the farther a search gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// None. Only then can the path to a state be shown.
    Whole,
    /// States that differ only in the numbers of clients, and in the height of all fences.
    Folded,
    /// Also states that differ only in pending steps that can as well happen now. That is correct
    /// while all rules are kept.
    Settled,
}

/// A property that every state must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Valid holds never overlap, unless an operator ended one.
    Mutex,
    /// A hold is never valid for its holder after its end in the store, unless an operator ended
    /// it. So the holder detects a loss before another client can be granted.
    Lost,
    /// Fences increase.
    Fence,
    /// Live waiters are granted in the order of arrival, and no request barges.
    Fifo,
    /// Each poll of a free lock grants a live waiter, if there is one.
    Wake,
    /// A renewal succeeds only on the hold that it names, and never creates one.
    NoRenew,
    /// An ended request neither holds nor waits.
    Clean,
    /// A release that freed the hold in time is not reported as a loss.
    Retry,
}

impl Invariant {
    const ALL: [Self; 8] = [
        Self::Mutex,
        Self::Lost,
        Self::Fence,
        Self::Fifo,
        Self::Wake,
        Self::NoRenew,
        Self::Clean,
        Self::Retry,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Mutex => "MUTEX",
            Self::Lost => "LOST",
            Self::Fence => "FENCE",
            Self::Fifo => "FIFO",
            Self::Wake => "WAKE",
            Self::NoRenew => "NORENEW",
            Self::Clean => "CLEAN",
            Self::Retry => "RETRY",
        }
    }

    fn property(self) -> Property<Protocol> {
        let holds: fn(&Protocol, &World) -> bool = match self {
            Self::Mutex => |it, world| it.violated(world) != Some(Self::Mutex),
            Self::Lost => |it, world| it.violated(world) != Some(Self::Lost),
            Self::Fence => |it, world| it.violated(world) != Some(Self::Fence),
            Self::Fifo => |it, world| it.violated(world) != Some(Self::Fifo),
            Self::Wake => |it, world| it.violated(world) != Some(Self::Wake),
            Self::NoRenew => |it, world| it.violated(world) != Some(Self::NoRenew),
            Self::Clean => |it, world| it.violated(world) != Some(Self::Clean),
            Self::Retry => |it, world| it.violated(world) != Some(Self::Retry),
        };
        Property::always(self.name(), holds)
    }
}

impl Protocol {
    /// Returns a violated invariant, if there is one.
    fn violated(&self, world: &World) -> Option<Invariant> {
        world.violated().find(|it| self.ignored != Some(*it))
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.bounds.clients, self.bounds.faults)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.violated(world).is_none() {
            world.actions(self, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.take(self.rules, action);
        Some(match self.form {
            Form::Whole => next,
            Form::Folded => next.fold(),
            Form::Settled => next.settle(self.rules).fold(),
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        Invariant::ALL.map(Invariant::property).into()
    }
}
