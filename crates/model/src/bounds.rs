//! The bounds of a search: the possible actions and faults, and their numbers.

use std::fmt;

use crate::rule::Rule;
use crate::world::Left;

/// The possible actions and faults, and their numbers. Messages may always be late and overtake
/// each other, and clients may always stop for any time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many clients there are.
    pub clients: u8,
    /// How many requests each of them makes, one after the other.
    pub requests: u8,
    /// Whether they may be tries.
    pub tries: bool,
    /// The possible faults, and their numbers.
    pub faults: Left,
}

const fn faults(losses: u8, doubles: u8, expiries: u8, deaths: u8, deletions: u8) -> Left {
    Left {
        losses,
        doubles,
        expiries,
        deaths,
        deletions,
    }
}

impl Bounds {
    const fn new(clients: u8, requests: u8, faults: Left) -> Self {
        Self {
            clients,
            requests,
            tries: false,
            faults,
        }
    }

    const fn with_tries(self) -> Self {
        Self {
            tries: true,
            ..self
        }
    }

    /// Bounds that are searched through in a minute.
    pub const SHORT: [Self; 3] = [
        Self::new(2, 1, faults(1, 1, 1, 0, 0)).with_tries(),
        Self::new(2, 1, faults(0, 0, 1, 1, 1)).with_tries(),
        Self::new(3, 1, faults(0, 0, 0, 0, 0)),
    ];

    /// Bounds that take longer.
    pub const LONG: [Self; 7] = [
        Self::new(3, 1, faults(0, 0, 1, 1, 0)),
        Self::new(3, 1, faults(0, 0, 0, 0, 0)).with_tries(),
        Self::new(2, 1, faults(2, 1, 1, 1, 1)).with_tries(),
        Self::new(3, 1, faults(1, 0, 1, 0, 0)),
        Self::new(3, 1, faults(0, 1, 1, 0, 0)),
        Self::new(3, 1, faults(0, 0, 1, 0, 1)),
        Self::new(3, 1, faults(2, 0, 0, 0, 0)),
    ];

    /// Bounds that only a settled search gets through.
    pub const WIDE: [Self; 4] = [
        Self::new(3, 1, faults(2, 1, 3, 0, 0)),
        Self::new(3, 1, faults(1, 1, 1, 0, 0)).with_tries(),
        Self::new(3, 1, faults(1, 0, 1, 1, 1)),
        Self::new(2, 2, faults(1, 1, 1, 0, 0)),
    ];

    /// Returns bounds within which a break of the rule shows.
    #[must_use]
    pub const fn against(rule: Rule) -> Self {
        let (clients, requests, faults) = match rule {
            Rule::ProvisionalTtlIsShort
            | Rule::PushesAreDated
            | Rule::GrantsUseThePlace
            | Rule::LivenessCutoff
            | Rule::IdsArePerRequest => (2, 2, faults(0, 0, 1, 0, 0)),
            Rule::NothingShortens | Rule::EndsNameTheOwner => (3, 1, faults(0, 0, 1, 0, 0)),
            Rule::UnansweredIsUnknown | Rule::EndsAreRepeated => (2, 1, faults(1, 0, 1, 0, 0)),
            Rule::ListenersAreAsked => (2, 1, faults(0, 0, 1, 1, 0)),
            Rule::OwnRepeatsAreKnown | Rule::OnlyTheProtocolRepeats => {
                (2, 1, faults(0, 1, 0, 0, 0))
            }
            _ => (2, 1, faults(0, 0, 1, 0, 0)),
        };
        let bounds = Self::new(clients, requests, faults);
        match rule {
            Rule::TriesDoNotBarge => bounds.with_tries(),
            _ => bounds,
        }
    }
}

/// Displays `2 clients, 1 request each, or tries; 2 losses, 1 expiry`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_tries = if self.tries { " or try" } else { "" };
        let Self {
            clients, requests, ..
        } = self;
        let each = if *requests == 1 { "" } else { "s" };
        write!(
            f,
            "{clients} clients, {requests} request{each}{or_tries} each"
        )?;
        let Left {
            losses,
            doubles,
            expiries,
            deaths,
            deletions,
        } = self.faults;
        let faults = [
            (losses, "loss", "losses"),
            (doubles, "double", "doubles"),
            (expiries, "expiry", "expiries"),
            (deaths, "death", "deaths"),
            (deletions, "deletion", "deletions"),
        ];
        for (count, one, more) in faults.into_iter().filter(|(count, ..)| 0 < *count) {
            write!(f, ", {count} {}", if count == 1 { one } else { more })?;
        }
        Ok(())
    }
}
