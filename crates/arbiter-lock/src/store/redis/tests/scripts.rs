//! Each script on its own: twice with the same arguments, at the memory limit, over somebody's
//! data.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Contender, Downgraded, Ended, Limit, Mode, Renewed, Request, Status, Tried,
};
use redis::Value;
use testkit::{Server, ServerBuilder};

use super::super::failure::failure_of;
use super::super::reply;
use super::super::script::{self, Call};
use super::ask::{self, contender};
use super::rig::Rig;
use crate::store::FailureKind;

impl Rig {
    async fn try_send(&self, call: &Call) -> Result<Value, FailureKind> {
        let mut connection = self.connection();
        let answer = connection.send_packed_command(&call.by_source()).await;
        answer
            .and_then(Value::extract_error)
            .map_err(|e| failure_of(&e).kind)
    }
}

/// Sends a step twice and demands the same state; the first reply and the second.
async fn twice(rig: &Rig, call: &Call) -> (Value, Value) {
    let first = rig.send(call).await;
    let state = rig.dump();
    let second = rig.send(call).await;
    assert_eq!(rig.dump(), state);
    (first, second)
}

fn fence_of(value: Value) -> u64 {
    match ask::acquired(value).unwrap() {
        Acquired::Granted { fence, .. } => fence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_step_is_idempotent() {
    let rig = Rig::new(Server::builder()).await;
    let keys = rig.keys.clone();
    let (holder, waiter): (Contender, Contender) =
        (contender("h", "c0", 5_000), contender("w", "c0", 5_000));

    let (first, second) = twice(&rig, &script::request(&keys, &ask::acquire(&holder, None))).await;
    let fence = fence_of(first);
    assert_eq!(fence_of(second), fence);
    let (first, second) = twice(&rig, &script::request(&keys, &ask::acquire(&waiter, None))).await;
    assert_eq!(first, second);
    let trier = contender("t", "c0", 5_000);
    let (first, second) = twice(&rig, &script::request(&keys, &ask::try_acquire(&trier))).await;
    assert_eq!(first, second);
    twice(&rig, &script::request(&keys, &Request::Inspect)).await;
    twice(
        &rig,
        &script::request(
            &keys,
            &Request::Break {
                fence,
                at_once: false,
            },
        ),
    )
    .await;

    // The release hands off. Run again, it finds the waiter's hold, and leaves it unchanged.
    let (first, second) = twice(&rig, &script::request(&keys, &ask::end(&holder, false))).await;
    assert_eq!(ask::ended(first).unwrap(), Ended::Released);
    assert_eq!(ask::ended(second).unwrap(), Ended::NotYours { taken: true });
    let (first, second) = twice(
        &rig,
        &script::request(&keys, &ask::acquire(&waiter, Some(5))),
    )
    .await;
    assert_eq!(first, second);
    twice(&rig, &script::request(&keys, &ask::end(&waiter, true))).await;
    let (first, _) = twice(&rig, &script::request(&keys, &ask::acquire(&waiter, None))).await;
    assert_eq!(ask::acquired(first).unwrap(), Acquired::Ended);
}

#[tokio::test]
async fn external_data_is_an_error_and_stays_untouched() {
    for flavour in testkit::flavours() {
        println!("{}", flavour.name);
        never_touches_other_data(Server::builder().binary(&flavour.binary)).await;
    }
}

async fn never_touches_other_data(server: ServerBuilder) {
    let rig = Rig::new(server).await;
    let keys = rig.keys.clone();
    let request = contender("r", "c0", 5_000);
    let lock = keys.lock.as_str();
    let data: [&[&str]; 4] = [
        &["SET", lock, "a string"],
        &["RPUSH", lock, "a", "list"],
        &["HSET", lock, "somebody", "else"],
        &["ZADD", lock, "1", "member"],
    ];
    for command in data {
        rig.server.call(&["DEL", lock]);
        rig.server.call(command);
        let before = rig.server.call(&["DUMP", lock]);
        for call in [
            script::request(&keys, &ask::acquire(&request, None)),
            script::request(&keys, &ask::try_acquire(&request)),
        ] {
            let failed = match rig.try_send(&call).await {
                Err(kind) => kind,
                Ok(value) => ask::acquired(value).unwrap_err().kind,
            };
            assert_eq!(failed, FailureKind::WrongType, "{command:?}");
        }
        let _ = rig
            .try_send(&script::request(&keys, &ask::end(&request, true)))
            .await;
        let _ = rig
            .try_send(&script::request(
                &keys,
                &Request::Break {
                    fence: 5,
                    at_once: true,
                },
            ))
            .await;
        let _ = rig
            .try_send(&script::request(&keys, &Request::Inspect))
            .await;
        assert_eq!(rig.server.call(&["DUMP", lock]), before, "{command:?}");
        rig.server.call(&["DEL", keys.queue.as_str()]);
    }
}

#[tokio::test]
async fn memory_limit_allows_release_and_refuses_new_holds() {
    for flavour in testkit::flavours() {
        println!("{}", flavour.name);
        releases_at_the_memory_limit(Server::builder().binary(&flavour.binary)).await;
    }
}

async fn releases_at_the_memory_limit(server: ServerBuilder) {
    let mut rig = Rig::new(server).await;
    let keys = rig.keys.clone();
    let (holder, waiter) = (contender("h", "c0", 5_000), contender("w", "c0", 5_000));
    rig.acquire(&holder, None).await;
    rig.acquire(&waiter, None).await;
    rig.server.call(&["CONFIG", "SET", "maxmemory", "1"]);
    rig.acquire(&waiter, Some(1)).await; // a poll adds nothing
    let (reply, granted, _) = rig.end(&holder, false).await;
    assert_eq!((reply, granted.len()), (Ended::Released, 1));
    let fence = granted[0].fence;
    rig.renew("w", fence, 5_000).await;
    assert_eq!(rig.end(&waiter, false).await.0, Ended::Released);

    let state = rig.dump();
    for call in [
        script::request(&keys, &ask::acquire(&holder, None)),
        script::request(&keys, &ask::try_acquire(&holder)),
    ] {
        assert_eq!(rig.try_send(&call).await.unwrap_err(), FailureKind::Full);
    }
    assert_eq!(rig.dump(), state);
}

#[tokio::test]
async fn release_without_publish_right_still_grants_next() {
    let mut rig = Rig::new(Server::builder()).await;
    let (holder, waiter) = (contender("h", "c0", 5_000), contender("w", "c0", 5_000));
    rig.acquire(&holder, None).await;
    rig.acquire(&waiter, None).await;
    rig.server
        .call(&["ACL", "SETUSER", "default", "-publish", "-pubsub"]);
    let value = rig
        .send(&script::request(&rig.keys, &ask::end(&holder, false)))
        .await;
    assert_eq!(ask::ended(value).unwrap(), Ended::Released);
    let held = rig.server.call(&["HGET", &rig.keys.lock, "owner"]).text();
    assert_eq!(held.as_deref(), Some("w"));
}

#[tokio::test]
async fn extreme_leases_set_exact_key_ttl() {
    let mut rig = Rig::new(Server::builder()).await;
    for lease_ms in [100, 365 * 86_400 * 1_000] {
        let request = contender(&format!("r{lease_ms}"), "c0", lease_ms);
        let (reply, ..) = rig.try_acquire(&request).await;
        assert!(matches!(reply, Tried::Granted { ttl_ms, .. } if ttl_ms == lease_ms));
        let ttl = rig.server.call(&["PTTL", &rig.keys.lock]).int().unwrap();
        assert_eq!(ttl, lease_ms as i64);
        rig.end(&request, false).await;
    }
}

#[tokio::test]
async fn every_key_always_has_a_ttl() {
    let mut rig = Rig::new(Server::builder()).await;
    let (holder, waiter) = (contender("h", "c0", 5_000), contender("w", "none", 5_000));
    let (first, second) = (sharer("first", 5), sharer("second", 5));
    rig.acquire(&holder, None).await;
    rig.acquire(&first, None).await;
    every_key_has_a_ttl(&rig, 3);
    rig.end(&first, false).await;
    rig.lose_queue();
    rig.acquire(&waiter, None).await;
    every_key_has_a_ttl(&rig, 3);
    rig.end(&holder, true).await;
    rig.acquire(&waiter, Some(1)).await;
    every_key_has_a_ttl(&rig, 3);
    rig.lose_queue();
    rig.end(&waiter, false).await;
    rig.acquire(&first, None).await;
    rig.acquire(&second, None).await;
    every_key_has_a_ttl(&rig, 3);
    rig.end(&second, false).await;
    every_key_has_a_ttl(&rig, 3);
    rig.end(&first, false).await;
    let (reply, ..) = rig.acquire(&holder, None).await;
    let Acquired::Granted { fence, .. } = reply else {
        panic!("{reply:?}")
    };
    rig.downgrade("h", fence, 5_000).await;
    every_key_has_a_ttl(&rig, 3);
    rig.renew("h", fence, 6_000).await;
    every_key_has_a_ttl(&rig, 3);
}

/// Returns how many changes the server has made.
fn changes(rig: &Rig) -> String {
    let info = rig.server.call(&["INFO", "persistence"]).text().unwrap();
    let changes = info.lines().find(|line| line.starts_with("rdb_changes"));
    changes.unwrap().to_owned()
}

#[tokio::test]
async fn repeated_acquires_and_renewals_write() {
    let rig = Rig::new(Server::builder()).await;
    let keys = rig.keys.clone();
    let reader = Mode::Shared {
        weight: NonZeroU32::MIN,
        limit: Limit::Unlimited,
    };
    for mode in [Mode::Exclusive, reader] {
        let holder = Contender {
            mode,
            ..contender("h", "c0", 5_000)
        };
        let acquire = script::request(&keys, &ask::acquire(&holder, None));
        let fence = fence_of(rig.send(&acquire).await);
        let renew = Request::Renew(ask::renewal("h", fence, 5_000));
        for call in [acquire, script::request(&keys, &renew)] {
            let before = changes(&rig);
            rig.send(&call).await;
            assert_ne!(changes(&rig), before);
        }
        let end = script::request(&keys, &ask::end(&holder, false));
        rig.send(&end).await;
    }
}

#[tokio::test]
async fn queue_keeps_ttl_when_its_record_changes() {
    let mut rig = Rig::new(Server::builder()).await;
    let (holder, dead) = (contender("h", "c0", 5_000), contender("w", "none", 5_000));
    rig.acquire(&holder, None).await;
    rig.acquire(&dead, None).await;
    rig.end(&holder, false).await;
    every_key_has_a_ttl(&rig, 2); // it was skipped
    let next = contender("x", "c0", 900);
    rig.acquire(&next, None).await;
    rig.end(&dead, false).await;
    every_key_has_a_ttl(&rig, 3); // the grant of the next is known
    rig.advance(1_000_000);
    rig.end(&next, false).await;
    every_key_has_a_ttl(&rig, 2); // and has expired
}

fn every_key_has_a_ttl(rig: &Rig, keys: usize) {
    assert_eq!(rig.server.keys().len(), keys, "{:?}", rig.server.keys());
    for key in rig.server.keys() {
        let ttl = rig.server.call(&["PTTL", &key]).int().unwrap();
        assert!(0 < ttl && ttl <= 61_000, "{key}: {ttl}");
    }
}

fn sharer(id: &str, limit: u32) -> Contender {
    Contender {
        mode: Mode::Shared {
            weight: NonZeroU32::MIN,
            limit: Limit::Stated(NonZeroU32::new(limit).unwrap()),
        },
        ..contender(id, "c0", 5_000)
    }
}

#[tokio::test]
async fn batch_of_renewals_survives_a_bad_key() {
    let mut rig = Rig::new(Server::builder()).await;
    let (reply, ..) = rig.acquire(&contender("h", "c0", 5_000), None).await;
    let Acquired::Granted { fence, .. } = reply else {
        panic!("{reply:?}")
    };
    let mut bad = rig.keys.clone();
    bad.lock = "arbiter:bad".into();
    rig.server.call(&["SET", "arbiter:bad", "a string"]);
    let (renewal, keys) = (ask::renewal("h", fence, 5_000), &rig.keys);
    let renew = script::renew([(&bad, &renewal), (keys, &renewal)]);
    let answers = reply::renewed(rig.send(&renew).await, 2).unwrap();
    assert_eq!(
        answers[0].as_ref().unwrap_err().kind,
        FailureKind::WrongType
    );
    assert!(answers[1].is_ok());
    let status: Status = rig.reply(&Request::Inspect).await.reply;
    assert!(status.holder.is_some());
}

#[tokio::test]
async fn forgotten_waiter_leaves_no_limit() {
    let mut rig = Rig::new(Server::builder()).await;
    rig.acquire(&contender("h", "c0", 200_000), None).await;
    rig.acquire(&sharer("forgotten", 5), None).await;
    let (reply, ..) = rig.acquire(&sharer("w", 7), None).await;
    assert!(matches!(reply, Acquired::Refused(_)), "{reply:?}");
    rig.advance(40_000_000);
    rig.acquire(&contender("x", "c0", 5_000), None).await;
    rig.advance(40_000_000);
    let (reply, ..) = rig.acquire(&sharer("w", 7), None).await;
    assert!(matches!(reply, Acquired::Queued { .. }), "{reply:?}");
}

#[tokio::test]
async fn external_owner_named_shared_is_one_holder() {
    let mut rig = Rig::new(Server::builder()).await;
    rig.acquire(&contender("h", "c0", 5_000), None).await;
    rig.take_externally("shared", Some(3_000));
    assert_eq!(
        rig.renew("h", 1, 5_000).await,
        Renewed::NotYours { taken: true }
    );
    let status = rig.inspect().await;
    assert!(status.holder.is_some() && status.sharing.is_none());
    let (reply, ..) = rig.acquire(&contender("w", "c0", 5_000), None).await;
    assert!(matches!(reply, Acquired::Queued { .. }), "{reply:?}");
    assert_eq!(
        rig.end(&contender("h", "c0", 5_000), false).await.0,
        Ended::NotYours { taken: true }
    );
    rig.delete_externally();
    let (reply, ..) = rig.acquire(&contender("w", "c0", 5_000), None).await;
    assert!(matches!(reply, Acquired::Granted { .. }), "{reply:?}");
}

#[tokio::test]
async fn repeated_downgrade_requires_its_own_fence() {
    let mut rig = Rig::new(Server::builder()).await;
    let (reply, ..) = rig.acquire(&contender("h", "c0", 5_000), None).await;
    let Acquired::Granted { fence, .. } = reply else {
        panic!("{reply:?}")
    };
    for _ in 0..2 {
        let (reply, ..) = rig.downgrade("h", fence, 5_000).await;
        assert!(matches!(reply, Downgraded::Downgraded { .. }), "{reply:?}");
    }
    let (reply, ..) = rig.downgrade("h", fence - 1, 5_000).await;
    assert_eq!(reply, Downgraded::NotYours { taken: true });
}

#[tokio::test]
async fn expired_sharer_is_not_renewed() {
    let mut rig = Rig::new(Server::builder()).await;
    let mut short = sharer("short", 5);
    short.lease_ms = 1_000;
    let (reply, ..) = rig.acquire(&short, None).await;
    let Acquired::Granted { fence, .. } = reply else {
        panic!("{reply:?}")
    };
    rig.acquire(&sharer("long", 5), None).await;
    rig.advance(2_000_000);
    let renewed = rig.renew("short", fence, 1_000).await;
    assert_eq!(renewed, Renewed::NotYours { taken: true });
}

#[tokio::test]
async fn follower_above_its_own_limit_never_starts_sharing() {
    let mut rig = Rig::new(Server::builder()).await;
    let (limit, weight) = (NonZeroU32::new(3).unwrap(), NonZeroU32::new(5).unwrap());
    let large = Contender {
        mode: Mode::Shared {
            weight,
            limit: Limit::Followed(limit),
        },
        ..contender("large", "c0", 5_000)
    };
    rig.acquire(&sharer("one", 5), None).await;
    let (reply, ..) = rig.acquire(&large, None).await;
    assert!(matches!(reply, Acquired::Queued { .. }), "{reply:?}");
    let (_, granted, _) = rig.end(&sharer("one", 5), false).await;
    assert_eq!(granted, []);
    let (reply, ..) = rig.acquire(&large, None).await;
    assert!(matches!(reply, Acquired::Refused(_)), "{reply:?}");
}
