//! A model of the protocol (`docs/protocol.md`): clients, a store, and messages between them that
//! are late, lost, doubled and overtake each other. All that can happen within stated bounds is
//! searched through, to the end, and whatever it comes to is held against the promises.
//!
//! Time passes in ticks. A client that takes no step for a while is a client that is stopped, so
//! pauses need no bound; nor does the delay of a message. Each [rule](Rule) can be broken on
//! purpose: then the search must find a violation.

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

/// How many ticks a lease lives.
pub(crate) const LEASE: u8 = 2;
/// How many ticks a grant lives that its holder has not claimed.
pub(crate) const FIRST_LIFE: u8 = 1;
/// How many ticks ago a live waiter has looked at the most.
pub(crate) const LIVE: u8 = 1;

/// The protocol within bounds, perhaps with a rule broken.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What may happen.
    pub bounds: Bounds,
    /// Which rules are kept.
    pub rules: Rules,
    /// Which states are taken for the same.
    pub form: Form,
    /// What is not looked at, so that the search goes on to what it leads to.
    pub ignored: Option<Invariant>,
}

/// Which states are taken for the same: the fewer there are, the farther a search comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// None. Only then can the way to a state be told.
    Whole,
    /// Those that differ only in which client is which, and in how high all fences are.
    Folded,
    /// Those as well that differ only in what has yet to come, and comes to the same now. That
    /// holds as long as all rules are kept.
    Settled,
}

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Believed holds never overlap, unless one was ended from outside.
    Mutex,
    /// A holder believes no longer than its hold stands in the store, unless that was ended from
    /// outside: it has been told before anybody else can be granted.
    Lost,
    /// Fences increase.
    Fence,
    /// Who waits is granted in the order of arrival, as long as it is live; nobody barges.
    Fifo,
    /// Who comes by a free lock leaves it to a live waiter, if there is one.
    Wake,
    /// No renewal succeeds on what is not the hold that it names, and none makes one.
    NoRenew,
    /// What has been ended neither holds nor waits.
    Clean,
    /// A release that freed the hold in time is not told as a loss.
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
    /// What does not hold, if anything.
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
