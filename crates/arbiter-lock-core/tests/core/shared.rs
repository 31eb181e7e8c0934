//! The rules for shared holds: weights, limits, and who waits for whom.

use std::num::NonZeroU32;

use arbiter_lock_core::{
    Acquired, Contender, Downgraded, Limit, MAX_STEPS, Mode, Refusal, Renewed, Resized, Tried,
    Written,
};

use crate::world::{SECOND, World, ids, request};

pub(crate) fn reader(id: &str) -> Contender {
    sharer(id, 1, Limit::Unlimited)
}

pub(crate) fn permits(id: &str, weight: u32, limit: u32) -> Contender {
    sharer(id, weight, Limit::Stated(number(limit)))
}

fn follower(id: &str, weight: u32, limit: u32) -> Contender {
    sharer(id, weight, Limit::Followed(number(limit)))
}

fn number(number: u32) -> NonZeroU32 {
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

#[test]
fn readers_overlap_and_a_writer_waits_for_the_last() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.hold(&reader("r2"));
    world.queue(&request("w", 30_000), None);
    assert_eq!(world.end("r1", false).granted, []);
    assert_eq!(ids(&world.end("r2", false).granted), ["w"]);
}

#[test]
fn a_reader_behind_a_waiting_writer_waits_so_that_neither_starves() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    world.queue(&reader("r2"), None);
    world.queue(&reader("r3"), None);
    assert_eq!(ids(&world.end("r1", false).granted), ["w"]);
    assert_eq!(ids(&world.end("w", false).granted), ["r2", "r3"]);
}

#[test]
fn a_try_to_read_does_not_barge_past_a_writer_that_waits() {
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
fn readers_behind_a_writer_that_gave_up_come_in_at_once() {
    let mut world = World::new();
    world.hold(&reader("r1"));
    world.queue(&request("w", 30_000), None);
    world.queue(&reader("r2"), None);
    assert_eq!(ids(&world.end("w", false).granted), ["r2"]);
}

#[test]
fn a_large_request_at_the_head_is_not_overtaken_by_small_ones() {
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
fn a_permit_is_counted_with_its_weight_and_given_back_once() {
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
fn more_than_the_limit_and_another_limit_are_refused_at_once() {
    let mut world = World::new();
    let refused = |world: &mut World, request: &Contender| world.acquire(request, None).reply;
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
fn every_reader_has_a_lease_of_its_own() {
    let mut world = World::new();
    let short = Contender {
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

fn leased(lease_ms: u64, request: Contender) -> Contender {
    Contender {
        lease_ms,
        ..request
    }
}

#[test]
fn who_has_looked_since_the_grant_that_lapses_keeps_its_turn_whatever_was_granted_later() {
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
fn who_stopped_before_the_grant_that_lapses_is_passed_over_while_others_hold_on() {
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
fn every_listed_sharer_stands_and_the_sums_are_of_those_who_stand() {
    let mut world = World::new();
    let short = Contender {
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
fn a_writer_steps_down_without_a_gap_and_lets_those_in_who_wait_to_read() {
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
fn nobody_steps_down_from_a_hold_that_is_not_theirs() {
    let mut world = World::new();
    let fence = world.hold(&request("w", 30_000));
    let other = world.downgrade("w", fence + 1).reply;
    assert_eq!(other, Downgraded::NotYours { taken: true });
    drop(world.end("w", false));
    let gone = world.downgrade("w", fence).reply;
    assert_eq!(gone, Downgraded::NotYours { taken: false });
}

#[test]
fn a_writer_does_not_step_down_among_those_who_count_permits() {
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
fn a_raised_limit_lets_waiters_in_and_a_lowered_one_lets_nobody_in_until_it_is_kept() {
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
fn a_queued_request_above_a_lowered_limit_is_refused_with_its_reason() {
    let mut world = World::new();
    world.hold(&permits("a", 4, 4));
    let (ticket, _) = world.queue(&follower("big", 3, 4), None);
    drop(world.resize(2));
    let look = world.acquire(&follower("big", 3, 4), Some(ticket)).reply;
    assert_eq!(look, Acquired::Refused(Refusal::AboveLimit { limit: 2 }));
}

#[test]
fn one_who_follows_takes_the_limit_in_force_and_sets_its_own_where_there_is_none() {
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
fn nothing_is_resized_where_nobody_holds_under_a_limit() {
    let mut world = World::new();
    assert_eq!(world.resize(2).reply, Resized::NotHeld);
    world.hold(&reader("r"));
    assert_eq!(world.resize(2).reply, Resized::NotHeld);
    drop(world.end("r", false));
    world.hold(&request("w", 30_000));
    assert_eq!(world.resize(2).reply, Resized::NotHeld);
}

#[test]
fn what_a_holder_proclaims_is_seen_for_as_long_as_it_holds() {
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
fn a_run_is_remembered_with_its_first_start_and_its_first_end() {
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
fn the_limit_of_those_who_wait_counts_once_the_dead_among_them_are_passed_over() {
    let mut world = World::new();
    world.hold(&request("w", 30_000));
    world.queue(&permits("p", 1, 5), None);
    world.pass(40 * SECOND);
    let reply = world.acquire(&permits("q", 7, 7), None).reply;
    assert!(matches!(reply, Acquired::Granted { .. }), "{reply:?}");
}

#[test]
fn those_who_share_are_shown_as_one_under_the_fence_of_their_first() {
    let mut world = World::new();
    let first = world.hold(&reader("r1"));
    let longer = world.hold(&Contender {
        lease_ms: 60_000,
        ..reader("r2")
    });
    assert!(first < longer);
    let holder = world.resource.inspect(world.now()).holder.unwrap();
    assert_eq!(holder.fence, Some(first));
    assert_eq!(holder.remaining_ms, Some(60_000));
}

#[test]
fn one_that_waits_to_hold_alone_states_no_limit() {
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
fn a_step_is_repeated_only_where_its_bound_has_ended_it() {
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
        let reader = Contender {
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
fn a_renewal_moves_the_awaited_expiry() {
    let mut world = World::new();
    let fence = world.hold(&permits("a", 1, 2));
    let short = Contender {
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
    world
        .resource
        .take_externally(world.now(), "external", None);
    assert_eq!(awaits(&mut world, "w0"), None, "it has no end");
}

#[test]
fn a_waiter_that_tries_is_granted_once() {
    let mut world = World::new();
    world.deaf.push("channel of dead".into());
    world.hold(&request("h", 30_000));
    world.queue(&follower("dead", 2, 5), None);
    world.queue(&follower("waits", 2, 4), None);
    world.resource.delete_lock(world.now());
    // It states another limit than the dead one, which is skipped before that is decided.
    let tried = world.try_acquire(&permits("waits", 2, 4));
    assert_eq!(ids(&tried.granted), ["waits"]);
    assert!(matches!(tried.reply, Tried::Busy { .. }), "{tried:?}");
    let sharing = world.resource.inspect(world.now()).sharing.unwrap();
    assert_eq!((sharing.count, sharing.weight), (1, 2));
}
