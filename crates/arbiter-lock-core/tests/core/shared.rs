//! The rules for shared holds: weights, limits, and who waits for whom.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Downgraded, Limit, MAX_STEPS, Mode, Refusal, Renewed, Request, Resized, Tried,
    Written,
};

use crate::world::{SECOND, World, ids, request};

pub(crate) fn reader(id: &str) -> Request {
    sharer(id, 1, Limit::Unlimited)
}

pub(crate) fn permits(id: &str, weight: u32, limit: u32) -> Request {
    sharer(id, weight, Limit::Stated(number(limit)))
}

fn follower(id: &str, weight: u32, limit: u32) -> Request {
    sharer(id, weight, Limit::Followed(number(limit)))
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn sharer(id: &str, weight: u32, limit: Limit) -> Request {
    let weight = number(weight);
    let mode = Mode::Shared { weight, limit };
    Request {
        mode,
        ..request(id, 30_000)
    }
}

#[test]
fn writer_waits_for_the_last_reader() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.hold(&reader("r2"));
    world.queue(&request("w", 30_000), None);
    assert_eq!(world.end("r1", false).granted, []);
    assert_eq!(ids(&world.end("r2", false).granted), ["w"]);
}

#[test]
fn reader_queues_behind_a_waiting_writer() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    world.queue(&reader("r2"), None);
    world.queue(&reader("r3"), None);
    assert_eq!(ids(&world.end("r1", false).granted), ["w"]);
    assert_eq!(ids(&world.end("w", false).granted), ["r2", "r3"]);
}

#[test]
fn try_read_never_overtakes_a_waiting_writer() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    let tried = world.try_acquire(&reader("r2")).reply;
    assert!(matches!(tried, Tried::Busy { waiting: 1, .. }), "{tried:?}");
    drop(world.end("w", false));
    let tried = world.try_acquire(&reader("r2")).reply;
    assert!(matches!(tried, Tried::Granted { .. }), "{tried:?}");
}

#[test]
fn leaving_writer_lets_readers_in_at_once() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    world.queue(&reader("r2"), None);
    assert_eq!(ids(&world.end("w", false).granted), ["r2"]);
}

#[test]
fn large_request_at_head_is_not_overtaken() {
    let mut world = World::new();
    world.hold(&permits("a", 2, 3));
    world.queue(&permits("big", 3, 3), None);
    world.queue(&permits("small", 1, 3), None);
    let end = world.end("a", false);
    assert_eq!(ids(&end.granted), ["big"]);
    assert_eq!(ids(&world.end("big", false).granted), ["small"]);
}

#[test]
fn held_permits_never_exceed_the_limit() {
    let mut world = World::new();
    world.hold(&permits("a", 2, 3));
    world.hold(&permits("b", 1, 3));
    world.queue(&permits("c", 1, 3), None);
    world.queue(&permits("d", 1, 3), None);
    assert_eq!(ids(&world.end("b", false).granted), ["c"]);
    assert_eq!(ids(&world.end("c", false).granted), ["d"]);
}

#[test]
fn permit_counts_its_weight_and_returns_once() {
    let mut world = World::new();
    world.hold(&permits("a", 1, 3));
    world.hold(&permits("b", 1, 3));
    world.hold(&permits("c", 1, 3));
    drop(world.end("a", false));
    drop(world.end("a", false));
    world.queue(&permits("two", 2, 3), None);
    world.queue(&permits("one", 1, 3), None);
    assert_eq!(ids(&world.end("b", false).granted), ["two"]);
    assert_eq!(ids(&world.end("c", false).granted), ["one"]);
}

#[test]
fn weight_above_limit_and_different_limit_are_refused() {
    let mut world = World::new();
    let refused = |world: &mut World, request: &Request| world.acquire(request, None).reply;
    let above = refused(&mut world, &permits("a", 4, 3));
    assert_eq!(above, Acquired::Refused(Refusal::AboveLimit { limit: 3 }));
    world.hold(&permits("b", 1, 3));
    let differs = refused(&mut world, &permits("c", 1, 5));
    assert_eq!(
        differs,
        Acquired::Refused(Refusal::LimitDiffers { limit: Some(3) })
    );
    drop(world.end("b", false));
    world.hold(&permits("d", 1, 5));
}

#[test]
fn every_reader_has_its_own_lease() {
    let mut world = World::new();
    let short = Request {
        lease_ms: 1_000,
        ..reader("short")
    };
    let short_fence = world.hold(&short);
    let fence = world.hold(&reader("long"));
    world.queue(&request("w", 30_000), None);
    world.pass(2 * SECOND);
    assert_eq!(world.holder().as_deref(), Some("shared"));
    let short = world
        .resource
        .renew(world.now(), "short", short_fence, 1_000);
    assert_eq!(short, Renewed::NotYours { taken: true });
    let renewed = world.resource.renew(world.now(), "long", fence, 30_000);
    assert!(matches!(renewed, Renewed::Renewed { .. }));
    assert_eq!(world.end("short", false).granted, []);
    assert_eq!(ids(&world.end("long", false).granted), ["w"]);
}

fn leased(lease_ms: u64, request: Request) -> Request {
    Request {
        lease_ms,
        ..request
    }
}

#[test]
fn waiter_polling_since_expired_grant_keeps_its_turn() {
    for is_ended in [true, false] {
        let mut world = World::new();
        world.hold(&leased(2_000, permits("dead", 2, 3)));
        world.hold(&permits("a", 1, 3));
        world.pass(1_000);
        world.queue(&permits("later", 1, 3), None);
        world.queue(&permits("w", 2, 3), None);
        world.pass(SECOND);
        assert_eq!(ids(&world.end("a", false).granted), ["later"]);
        if is_ended {
            assert_eq!(world.end("later", false).granted, []);
        }
        world.pass(SECOND + 1_000);
        let newcomer = world.acquire(&permits("n", 2, 3), None);
        assert_eq!(ids(&newcomer.granted), ["w"], "ended: {is_ended}");
    }
}

#[test]
fn waiter_stopped_before_expired_grant_is_skipped() {
    let mut world = World::new();
    world.hold(&permits("on", 1, 5));
    world.hold(&leased(1_500, permits("earlier", 1, 5)));
    world.hold(&permits("a", 3, 5));
    world.pass(1_000);
    world.queue(&leased(500, permits("stopped", 1, 5)), None);
    world.queue(&permits("b", 1, 5), None);
    world.queue(&permits("too", 3, 5), None);
    world.pass(SECOND);
    assert_eq!(ids(&world.end("a", false).granted), ["stopped", "b"]);
    assert_eq!(world.end("b", false).granted, []);
    world.pass(SECOND);
    world.hold(&permits("n", 3, 5));
}

#[test]
fn listed_sharers_and_sums_exclude_expired_ones() {
    let mut world = World::new();
    let short = Request {
        lease_ms: 1_000,
        ..permits("short", 2, 5)
    };
    world.hold(&short);
    world.hold(&permits("long", 3, 5));
    let both = world.resource.inspect(world.now()).sharing.unwrap();
    assert_eq!((both.limit, both.weight, both.count), (Some(5), 5, 2));
    let owners: Vec<_> = both.holders.iter().map(|h| &*h.holder.owner).collect();
    assert_eq!(owners, ["long", "short"]);
    world.pass(2 * SECOND);
    let one = world.resource.inspect(world.now()).sharing.unwrap();
    assert_eq!((one.weight, one.count, one.holders.len()), (3, 1, 1));
    world.pass(40 * SECOND);
    let none = world.resource.inspect(world.now());
    assert_eq!((none.sharing, none.holder), (None, None));
}

#[test]
fn downgrade_keeps_the_hold_and_admits_readers() {
    let mut world = World::new();
    let fence = world.hold(&request("w", 30_000));
    world.queue(&reader("r1"), None);
    world.queue(&request("w2", 30_000), None);
    world.queue(&reader("r2"), None);
    let down = world.downgrade("w", fence);
    assert_eq!(down.reply, Downgraded::Downgraded { life_ms: 30_000 });
    assert_eq!(ids(&down.granted), ["r1"]);
    let again = world.downgrade("w", fence);
    assert_eq!((again.reply, again.granted), (down.reply, vec![]));
    let renewed = world.resource.renew(world.now(), "w", fence, 30_000);
    assert!(matches!(renewed, Renewed::Renewed { .. }));
    assert_eq!(world.end("r1", false).granted, []);
    assert_eq!(ids(&world.end("w", false).granted), ["w2"]);
    assert_eq!(ids(&world.end("w2", false).granted), ["r2"]);
}

#[test]
fn downgrade_requires_a_current_fence() {
    let mut world = World::new();
    let fence = world.hold(&request("w", 30_000));
    let other = world.downgrade("w", fence + 1).reply;
    assert_eq!(other, Downgraded::NotYours { taken: true });
    drop(world.end("w", false));
    let gone = world.downgrade("w", fence).reply;
    assert_eq!(gone, Downgraded::NotYours { taken: false });
}

#[test]
fn downgrade_is_refused_while_permits_are_queued() {
    let mut world = World::new();
    let fence = world.hold(&request("w", 30_000));
    world.queue(&permits("p", 1, 3), None);
    let refusal = Refusal::LimitDiffers { limit: Some(3) };
    assert_eq!(
        world.downgrade("w", fence).reply,
        Downgraded::Refused(refusal)
    );
    assert_eq!(world.holder().as_deref(), Some("w"));
}

#[test]
fn raised_limit_admits_waiters_lowered_limit_delays_them() {
    let mut world = World::new();
    world.hold(&permits("a", 2, 2));
    world.queue(&permits("b", 2, 2), None);
    world.queue(&permits("c", 1, 2), None);
    let raised = world.resize(5);
    assert_eq!(raised.reply, Resized::Resized { before: number(2) });
    assert_eq!(ids(&raised.granted), ["b", "c"]);
    assert_eq!(world.resize(3).granted, []);
    world.queue(&permits("d", 1, 3), None);
    assert_eq!(world.end("c", false).granted, []);
    assert_eq!(ids(&world.end("a", false).granted), ["d"]);
}

#[test]
fn queued_request_above_lowered_limit_is_refused() {
    let mut world = World::new();
    world.hold(&permits("a", 4, 4));
    let (ticket, _) = world.queue(&follower("big", 3, 4), None);
    drop(world.resize(2));
    let look = world.acquire(&follower("big", 3, 4), Some(ticket)).reply;
    assert_eq!(look, Acquired::Refused(Refusal::AboveLimit { limit: 2 }));
}

#[test]
fn follower_takes_current_limit_or_sets_its_own() {
    let mut world = World::new();
    world.hold(&follower("a", 1, 2));
    let other = world.acquire(&permits("b", 1, 3), None).reply;
    let differs = Refusal::LimitDiffers { limit: Some(2) };
    assert_eq!(other, Acquired::Refused(differs));
    world.hold(&follower("c", 1, 9));
    world.queue(&follower("d", 1, 9), None);
    drop(world.end("d", false));
    let above = world.acquire(&follower("e", 3, 9), None).reply;
    assert_eq!(above, Acquired::Refused(Refusal::AboveLimit { limit: 2 }));
}

#[test]
fn resize_requires_held_permits() {
    let mut world = World::new();
    assert_eq!(world.resize(2).reply, Resized::NotHeld);
    world.hold(&reader("r"));
    assert_eq!(world.resize(2).reply, Resized::NotHeld);
    drop(world.end("r", false));
    world.hold(&request("w", 30_000));
    assert_eq!(world.resize(2).reply, Resized::NotHeld);
}

#[test]
fn proclaimed_value_lasts_as_long_as_the_hold() {
    let mut world = World::new();
    let fence = world.hold(&request("leader", 30_000));
    let now = world.now();
    let proclaim =
        |world: &mut World, fence, value| world.resource.proclaim(now, "leader", fence, value);
    assert_eq!(proclaim(&mut world, fence + 1, "x"), Written::NotYours);
    assert_eq!(world.resource.inspect(now).value, None);
    assert_eq!(proclaim(&mut world, fence, "10.0.0.1"), Written::Written);
    assert_eq!(
        world.resource.inspect(now).value.as_deref(),
        Some("10.0.0.1")
    );
    world.pass(31 * SECOND);
    assert_eq!(world.resource.inspect(world.now()).value, None);
    world.hold(&request("next", 30_000));
    assert_eq!(world.resource.inspect(world.now()).value, None);
    assert_eq!(proclaim(&mut world, fence, "late"), Written::NotYours);
}

#[test]
fn run_record_keeps_first_start_and_first_end() {
    let mut world = World::new();
    let fence = world.hold(&request("a", 30_000));
    let started = world.now();
    let begin = |world: &mut World| world.resource.begin_run(world.now(), "a", fence, 60_000);
    assert_eq!(begin(&mut world), Written::Written);
    world.pass(SECOND);
    assert_eq!(begin(&mut world), Written::Written);
    let run = world.resource.last_run(world.now()).unwrap();
    assert_eq!((run.started, run.ended, run.fence), (started, None, fence));
    drop(world.end("a", false));
    let ended = world.now();
    let finish = |world: &mut World, fence, outcome: &str| {
        world
            .resource
            .finish_run(world.now(), fence, &outcome.into(), 60_000)
    };
    assert_eq!(finish(&mut world, fence, "0"), Written::Written);
    world.pass(SECOND);
    assert_eq!(finish(&mut world, fence, "1"), Written::Written);
    assert_eq!(finish(&mut world, fence + 1, "1"), Written::NotYours);
    let run = world.resource.last_run(world.now()).unwrap();
    assert_eq!(run.ended, Some((ended, "0".into())));
    assert!(!world.resource.is_forgotten(world.now()));
    world.pass(61 * SECOND);
    assert_eq!(world.resource.last_run(world.now()), None);
    let now = world.now();
    assert_eq!(
        world.resource.begin_run(now, "a", fence, 60_000),
        Written::NotYours
    );
}

#[test]
fn limits_of_skipped_waiters_do_not_count() {
    let mut world = World::new();
    world.hold(&request("w", 30_000));
    world.queue(&permits("p", 1, 5), None);
    world.pass(40 * SECOND);
    let reply = world.acquire(&permits("q", 7, 7), None).reply;
    assert!(matches!(reply, Acquired::Granted { .. }), "{reply:?}");
}

#[test]
fn sharers_are_shown_under_their_first_fence() {
    let mut world = World::new();
    let first = world.hold(&reader("r1"));
    let longer = world.hold(&Request {
        lease_ms: 60_000,
        ..reader("r2")
    });
    assert!(first < longer);
    let holder = world.resource.inspect(world.now()).holder.unwrap();
    assert_eq!(holder.fence, Some(first));
    assert_eq!(holder.remaining_ms, Some(60_000));
}

#[test]
fn waiting_writer_states_no_limit() {
    let mut world = World::new();
    world.hold(&request("h", 30_000));
    world.queue(&request("w", 30_000), None);
    world.queue(&permits("p", 1, 3), None);
    assert!(matches!(
        world.acquire(&permits("q", 1, 4), None).reply,
        Acquired::Refused(Refusal::LimitDiffers { limit: Some(3) })
    ));
}

#[test]
fn step_is_repeated_only_at_its_bound() {
    let mut world = World::new();
    world.hold(&request("h", 30_000));
    for n in 0..MAX_STEPS as u64 + 2 {
        assert!(!world.acquire(&reader(&format!("r{n:02}")), None).again);
    }
    let released = world.end("h", false);
    assert!(released.again && released.granted.len() == MAX_STEPS);
    let look = world.acquire(&reader("late"), None);
    assert!(!look.again && look.granted.len() == 2);
}

/// In how many milliseconds the waiter with that id polls for an expiry.
fn awaits(world: &mut World, id: &str) -> Option<u64> {
    match world.acquire(&request(id, 30_000), None).reply {
        Acquired::Queued {
            awaited_expiry_ms, ..
        } => awaited_expiry_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_waiters_await_the_first_expiry() {
    let mut world = World::new();
    for (id, lease_ms) in [("long", 9_000), ("short", 1_300), ("middle", 5_000)] {
        let reader = Request {
            lease_ms,
            ..reader(id)
        };
        world.hold(&reader);
    }
    let expected = [1_300, 1_300, 1_300, 1_300, 5_000, 9_000].map(Some);
    for (n, expiry) in expected.into_iter().chain([None, None]).enumerate() {
        assert_eq!(awaits(&mut world, &format!("w{n}")), expiry, "place {n}");
    }
    // To the end of its last millisecond.
    world.pass(1_300_000);
    assert_eq!(awaits(&mut world, "w0"), Some(0));
    world.pass(1_000);
    let left = [3_699, 3_699, 3_699, 3_699, 7_699].map(Some);
    for (n, expiry) in left.into_iter().chain([None, None]).enumerate() {
        assert_eq!(awaits(&mut world, &format!("w{n}")), expiry, "place {n}");
    }
}

#[test]
fn renewal_moves_the_awaited_expiry() {
    let mut world = World::new();
    let fence = world.hold(&permits("a", 1, 2));
    let short = Request {
        lease_ms: 2_000,
        ..permits("b", 1, 2)
    };
    let of_short = world.hold(&short);
    assert_eq!(awaits(&mut world, "w"), Some(2_000));
    world.pass(SECOND);
    world.resource.renew(world.now(), "b", of_short, 40_000);
    assert_eq!(awaits(&mut world, "w"), Some(29_000), "that of the other");
    assert_eq!(world.end("a", false).granted, [], "the writer waits on");
    assert_eq!(awaits(&mut world, "w"), Some(40_000));
    let renewed = world.resource.renew(world.now(), "a", fence, 40_000);
    assert!(matches!(renewed, Renewed::NotYours { .. }));
}

#[test]
fn behind_one_holder_four_await_its_expiry() {
    let mut world = World::new();
    world.hold(&request("h", 30_000));
    let awaited = (0..6).map(|n| awaits(&mut world, &format!("w{n}")));
    let awaited: Vec<_> = awaited.collect();
    let expected = [Some(30_000); 4].into_iter().chain([None; 2]);
    assert_eq!(awaited, expected.collect::<Vec<_>>());
    world.resource.seized(world.now(), "external", None);
    assert_eq!(awaits(&mut world, "w0"), None, "it has no end");
}

#[test]
fn waiter_that_tries_is_granted_once() {
    let mut world = World::new();
    world.deaf.push("channel of dead".into());
    world.hold(&request("h", 30_000));
    world.queue(&follower("dead", 2, 5), None);
    world.queue(&follower("waits", 2, 4), None);
    world.resource.vanished(world.now());
    // It states another limit than the dead one, which is skipped before that is decided.
    let tried = world.try_acquire(&permits("waits", 2, 4));
    assert_eq!(ids(&tried.granted), ["waits"]);
    assert!(matches!(tried.reply, Tried::Busy { .. }), "{tried:?}");
    let sharing = world.resource.inspect(world.now()).sharing.unwrap();
    assert_eq!((sharing.count, sharing.weight), (1, 2));
}
