//! A resource with a clock that the test controls.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Answer, Contender, Downgraded, Ended, Grant, Limit, Mode, Moment, Resized, Resource,
    Tried,
};

pub(crate) const SECOND: u64 = 1_000_000;

pub(crate) struct Fixture {
    pub(crate) resource: Resource,
    pub(crate) now: u64,
    /// Channels without a subscription.
    pub(crate) unreachable: Vec<String>,
}

pub(crate) fn request(id: &str, lease_ms: u64) -> Contender {
    Contender {
        id: id.into(),
        mode: Mode::Exclusive,
        lease_ms,
        channel: format!("channel of {id}").into(),
        label: "".into(),
    }
}

pub(crate) fn reader(id: &str) -> Contender {
    sharer(id, 1, Limit::Unlimited)
}

pub(crate) fn permits(id: &str, weight: u32, limit: u32) -> Contender {
    sharer(id, weight, Limit::Stated(number(limit)))
}

pub(crate) fn follower(id: &str, weight: u32, limit: u32) -> Contender {
    sharer(id, weight, Limit::Followed(number(limit)))
}

pub(crate) fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn sharer(id: &str, weight: u32, limit: Limit) -> Contender {
    let weight = number(weight);
    let mode = Mode::Shared { weight, limit };
    Contender {
        mode,
        ..request(id, 30_000)
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            resource: Resource::default(),
            now: 1_000_000 * SECOND,
            unreachable: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::from_micros(self.now)
    }

    pub(crate) fn pass(&mut self, micros: u64) {
        self.now += micros;
    }

    pub(crate) fn acquire(&mut self, request: &Contender, ticket: Option<u64>) -> Answer<Acquired> {
        let unreachable = &self.unreachable;
        let listens = |channel: &str| !unreachable.iter().any(|unreachable| unreachable == channel);
        self.resource
            .acquire(Moment::from_micros(self.now), request, ticket, listens)
    }

    pub(crate) fn try_acquire(&mut self, request: &Contender) -> Answer<Tried> {
        let unreachable = &self.unreachable;
        let listens = |channel: &str| !unreachable.iter().any(|unreachable| unreachable == channel);
        self.resource
            .try_acquire(Moment::from_micros(self.now), request, listens)
    }

    pub(crate) fn end(&mut self, id: &str, tombstone: bool) -> Answer<Ended> {
        let unreachable = &self.unreachable;
        let listens = |channel: &str| !unreachable.iter().any(|unreachable| unreachable == channel);
        self.resource
            .end(Moment::from_micros(self.now), id, tombstone, listens)
    }

    pub(crate) fn downgrade(&mut self, owner: &str, fence: u64) -> Answer<Downgraded> {
        self.resource
            .downgrade(Moment::from_micros(self.now), owner, fence, 30_000, |_| {
                true
            })
    }

    pub(crate) fn resize(&mut self, limit: u32) -> Answer<Resized> {
        let limit = NonZeroU32::new(limit).unwrap();
        self.resource
            .resize(Moment::from_micros(self.now), limit, |_| true)
    }

    /// Acquires at once. Panics if the request is not granted.
    pub(crate) fn hold(&mut self, request: &Contender) -> u64 {
        match self.acquire(request, None).reply {
            Acquired::Granted { fence, .. } => fence,
            other => panic!("{} is not granted: {other:?}", request.id),
        }
    }

    /// Queues a request, and returns its ticket and place. Panics if it is not queued.
    pub(crate) fn queue(&mut self, request: &Contender, ticket: Option<u64>) -> (u64, u64) {
        match self.acquire(request, ticket).reply {
            Acquired::Queued { ticket, place, .. } => (ticket, place),
            other => panic!("{} is not queued: {other:?}", request.id),
        }
    }

    pub(crate) fn holder(&self) -> Option<String> {
        self.resource
            .inspect(self.now())
            .holder
            .map(|holder| holder.owner.to_string())
    }
}

pub(crate) fn ids(granted: &[Grant]) -> Vec<&str> {
    granted.iter().map(|grant| &*grant.request).collect()
}
