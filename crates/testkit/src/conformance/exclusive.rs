//! The primitives that can hold exclusively: a lock, and a semaphore with one permit.

use std::time::Duration;

use arbiter_lock::{Client, Error, Guard, Lock, Semaphore, Status};

/// A primitive that can hold exclusively.
#[derive(Clone, Copy, Debug)]
pub(super) enum Primitive {
    Lock,
    /// A semaphore with a single permit.
    Permit,
}

/// A lock, or a semaphore used as one.
#[derive(Clone)]
pub(super) enum Exclusive {
    Lock(Lock),
    Permit(Semaphore),
}

macro_rules! each {
    ($held:expr, $primitive:ident => $call:expr) => {
        match $held {
            Exclusive::Lock($primitive) => Exclusive::Lock($call),
            Exclusive::Permit($primitive) => Exclusive::Permit($call),
        }
    };
}

macro_rules! setters {
    ($($setter:ident: $value:ty,)*) => {
        $(
            pub(super) fn $setter(self, value: $value) -> Self {
                each!(self, primitive => primitive.$setter(value))
            }
        )*
    };
}

impl Exclusive {
    pub(super) fn new(primitive: Primitive, client: &Client, name: &str) -> Self {
        match primitive {
            Primitive::Lock => Self::Lock(client.lock(name)),
            Primitive::Permit => Self::Permit(client.semaphore(name, 1)),
        }
    }

    setters! {
        wait_timeout: Duration,
        lease_time: Duration,
        watchdog: bool,
        watchdog_interval: Duration,
        lost_margin: Duration,
        max_hold: Duration,
        label: &str,
    }

    pub(super) async fn acquire(&self) -> Result<Guard, Error> {
        match self {
            Self::Lock(lock) => lock.acquire().await,
            Self::Permit(permits) => permits.acquire().await,
        }
    }

    pub(super) async fn try_acquire(&self) -> Result<Option<Guard>, Error> {
        match self {
            Self::Lock(lock) => lock.try_acquire().await,
            Self::Permit(permits) => permits.try_acquire().await,
        }
    }

    pub(super) async fn inspect(&self) -> Result<Status, Error> {
        match self {
            Self::Lock(lock) => lock.inspect().await,
            Self::Permit(permits) => permits.inspect().await,
        }
    }
}

pub(super) async fn take(held: &Exclusive) -> Guard {
    held.acquire().await.expect("the lock")
}

pub(super) fn wait(held: Exclusive) -> tokio::task::JoinHandle<Guard> {
    tokio::spawn(async move { take(&held).await })
}
