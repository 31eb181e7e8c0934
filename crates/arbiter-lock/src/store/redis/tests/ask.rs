//! Requests and replies as the tests of the scripts write them.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::Arc;

use arbiter_lock_core::{Acquired, Contender, Ended, Mode, Moment, Renewal, Reply, Request};
use redis::Value;

use super::super::reply;
use crate::store::{Envelope, Failure};

pub(in super::super) fn contender(id: &str, channel: &str, lease_ms: u64) -> Contender {
    Contender {
        id: id.into(),
        mode: Mode::Exclusive,
        lease_ms,
        channel: channel.into(),
        label: format!("host 1 program note of {id}").into(),
    }
}

pub(super) fn acquire(contender: &Contender, ticket: Option<u64>) -> Request {
    let contender = Arc::new(contender.clone());
    Request::Acquire { contender, ticket }
}

pub(super) fn try_acquire(contender: &Contender) -> Request {
    Request::TryAcquire(Arc::new(contender.clone()))
}

pub(super) fn end(contender: &Contender, tombstone: bool) -> Request {
    Request::End {
        contender: Arc::new(contender.clone()),
        tombstone,
    }
}

pub(super) fn renewal(owner: &str, fence: u64, lease_ms: u64) -> Renewal {
    let owner = owner.into();
    Renewal {
        owner,
        fence,
        lease_ms,
        may_share: true,
    }
}

pub(super) fn transfer(owner: &str, fence: u64, to: &Contender) -> Request {
    Request::Transfer {
        owner: owner.into(),
        fence,
        to: Arc::new(to.clone()),
    }
}

/// Returns one request of each kind.
pub(in super::super) fn one_of_each() -> Vec<Request> {
    let (contender, owner) = (contender("id", "c0", 5_000), Arc::<str>::from("id"));
    let (fence, memory_ms) = (7, 5_000);
    vec![
        acquire(&contender, None),
        try_acquire(&contender),
        Request::Renew(renewal("id", fence, 5_000)),
        end(&contender, true),
        Request::Break {
            fence,
            at_once: true,
        },
        Request::BreakExternal { owner: "go".into() },
        Request::Downgrade(renewal("id", fence, 5_000)),
        transfer("id", fence, &contender),
        Request::Resize(NonZeroU32::MIN),
        Request::Proclaim {
            owner: owner.clone(),
            fence,
            value: "v".into(),
        },
        Request::BeginRun {
            owner,
            fence,
            turn: Moment::from_micros(fence),
            memory_ms,
        },
        Request::FinishRun {
            fence,
            outcome: "0".into(),
        },
        Request::ForgetRun { fence },
        Request::Inspect,
        Request::LastRun,
    ]
}

/// Reads the reply to a request.
pub(super) fn read<T>(request: &Request, value: Value) -> Result<Envelope<T>, Failure>
where
    T: TryFrom<Reply, Error: Debug>,
{
    let Envelope {
        reply, at, again, ..
    } = reply::read(request, value)?;
    let reply = reply.try_into().unwrap();
    Ok(Envelope::new(reply, at, again))
}

/// Reads the reply to an acquire.
pub(super) fn acquired(value: Value) -> Result<Acquired, Failure> {
    let request = acquire(&contender("id", "c0", 5_000), None);
    read(&request, value).map(|envelope| envelope.reply)
}

/// Reads the reply to an end.
pub(super) fn ended(value: Value) -> Result<Ended, Failure> {
    let request = end(&contender("id", "c0", 5_000), false);
    read(&request, value).map(|envelope| envelope.reply)
}
