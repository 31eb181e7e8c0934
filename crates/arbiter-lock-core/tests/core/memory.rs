//! What is remembered, for how long, and what is shown of it.

use arbiter_lock_core::{Acquired, Broken, Contender, Ended, Written};

use crate::shared::{permits, reader};
use crate::world::{SECOND, World, ids, request};

const MINUTE: u64 = 60 * SECOND;

/// Held by `h` for an hour, with no last fence to remember when it ends.
fn held() -> World {
    let mut world = World::new();
    world.hold(&request("h", 3_600_000));
    world
}

fn waiting(world: &World) -> u64 {
    world.resource.inspect(world.now()).waiting
}

fn labels(world: &World) -> Vec<String> {
    let status = world.resource.inspect(world.now());
    let labels = status.waiters.iter().map(|waiter| waiter.label.to_string());
    labels.collect()
}

fn labelled(id: &str) -> Contender {
    Contender {
        label: id.into(),
        ..request(id, 30_000)
    }
}

#[test]
fn waiters_are_shown_in_order_until_nothing_has_touched_the_queue_for_a_minute() {
    let mut world = held();
    world.queue(&labelled("a"), None);
    world.pass(1);
    world.queue(&labelled("b"), None);
    assert_eq!(labels(&world), ["a", "b"]);
    world.pass(MINUTE);
    assert_eq!((waiting(&world), labels(&world).len()), (2, 2));
    world.pass(SECOND);
    assert_eq!((waiting(&world), labels(&world).len()), (0, 0));
    assert_eq!(world.queue(&labelled("c"), None).1, 1, "its place");
}

#[test]
fn a_waiter_that_has_not_looked_for_a_minute_is_forgotten_and_the_others_are_not() {
    let mut world = held();
    let (a, _) = world.queue(&request("a", 30_000), None);
    let (b, _) = world.queue(&request("b", 30_000), None);
    let (d, _) = world.queue(&request("d", 30_000), None);
    assert!(a < b && b < d);
    world.pass(MINUTE - SECOND);
    assert_eq!(world.queue(&request("b", 30_000), Some(b)), (b, 2));
    assert_eq!(waiting(&world), 3);
    world.pass(SECOND);
    world.queue(&request("b", 30_000), Some(b));
    assert_eq!(waiting(&world), 3, "a minute to the microsecond");
    world.pass(1);
    assert_eq!(world.queue(&request("b", 30_000), Some(b)), (b, 1));
    assert_eq!(waiting(&world), 1);
    // It has lost its place, but not the ticket that it carries.
    assert_eq!(world.queue(&request("a", 30_000), Some(a)), (a, 1));
    assert_eq!(waiting(&world), 2);
}

#[test]
fn one_that_was_passed_over_and_stays_away_for_a_minute_is_forgotten() {
    let mut world = held();
    world.queue(&request("a", 3_600_000), None);
    world.pass(3 * SECOND);
    world.queue(&request("b", 3_600_000), None);
    let granted = world.end("h", false).granted.remove(0);
    assert_eq!(&*granted.request, "b", "a has not looked");
    assert_eq!(
        waiting(&world),
        0,
        "one that was passed over does not count"
    );
    let (now, fence) = (world.now(), granted.fence);
    world.resource.renew(now, "b", fence, 3_600_000);
    for _ in 0..60 {
        world.pass(SECOND);
        world.queue(&request("c", 30_000), None);
    }
    assert_eq!(world.end("a", false).reply, Ended::NotYours);
    assert_eq!(waiting(&world), 1);
}

#[test]
fn a_tombstone_is_forgotten_after_a_minute_though_others_keep_the_queue() {
    let mut world = held();
    assert_eq!(world.end("dead", true).granted, []);
    for _ in 0..6 {
        world.pass(10 * SECOND);
        world.queue(&request("a", 30_000), None);
    }
    let late = request("dead", 30_000);
    assert_eq!(world.acquire(&late, None).reply, Acquired::Ended);
    world.pass(1);
    assert!(matches!(
        world.acquire(&late, None).reply,
        Acquired::Queued { .. }
    ));
}

#[test]
fn a_grant_that_was_waited_for_is_remembered_for_a_minute() {
    let life = |world: &mut World| match world.acquire(&request("a", 30_000), None).reply {
        Acquired::Granted { life_ms, .. } => life_ms,
        other => panic!("{other:?}"),
    };
    for (later, expected) in [(MINUTE, 2_000), (MINUTE + SECOND, 30_000)] {
        let mut world = held();
        world.queue(&request("a", 30_000), None);
        assert_eq!(ids(&world.end("h", false).granted), ["a"]);
        // Its first life lapses.
        world.pass(later);
        assert_eq!(life(&mut world), expected, "after {later} µs");
    }
}

#[test]
fn one_that_waits_is_granted_a_first_life_at_its_look_too() {
    let mut world = held();
    world.deaf.push("channel of a".into());
    world.queue(&request("a", 30_000), None);
    assert_eq!(world.end("h", false).granted, []);
    assert_eq!(world.holder(), None, "nobody listens");
    let Acquired::Granted { life_ms, .. } = world.acquire(&request("a", 30_000), None).reply else {
        panic!("it is free");
    };
    assert_eq!(life_ms, 2_000);
}

#[test]
fn the_place_in_the_queue_is_counted_to_a_hundred_and_one() {
    let mut world = held();
    let places: Vec<u64> = (0..103)
        .map(|n| world.queue(&request(&format!("w{n:03}"), 30_000), None).1)
        .collect();
    assert_eq!(places[..3], [1, 2, 3]);
    assert_eq!(places[98..], [99, 100, 101, 101, 101]);
}

#[test]
fn all_is_forgotten_when_nothing_is_held_and_the_last_fence_has_had_its_minute() {
    let mut world = World::new();
    let is_forgotten = |world: &mut World| world.resource.is_forgotten(world.now());
    assert!(is_forgotten(&mut world), "nothing has happened");
    world.hold(&request("a", 1_000));
    assert!(!is_forgotten(&mut world), "it is held");
    assert_eq!(world.end("a", true).granted, []);
    assert!(!is_forgotten(&mut world), "a tombstone, and a fence");
    world.resource.lose_last_fence();
    assert!(!is_forgotten(&mut world), "a tombstone");
    world.pass(MINUTE);
    assert!(!is_forgotten(&mut world), "for as long as a minute");
    world.pass(1_000);
    assert!(is_forgotten(&mut world));
    world.hold(&reader("r"));
    world.resource.lose_last_fence();
    assert!(!is_forgotten(&mut world), "it is shared");
    assert_eq!(world.end("r", false).granted, []);
    assert!(is_forgotten(&mut world));
}

#[test]
fn a_lost_last_fence_begins_anew_at_the_time() {
    let mut world = World::new();
    world.hold(&request("a", 1_000));
    assert_eq!(world.end("a", false).granted, []);
    world.now -= 50 * SECOND;
    let remembered = world.hold(&request("b", 1_000));
    assert!(
        world.now < remembered,
        "above the last, though the clock went back"
    );
    assert_eq!(world.end("b", false).granted, []);
    world.resource.lose_last_fence();
    assert_eq!(world.hold(&request("c", 1_000)), world.now);
}

#[test]
fn a_run_that_is_lost_or_over_is_remembered_no_more() {
    let mut world = World::new();
    let fence = world.hold(&request("a", 30_000));
    let now = world.now();
    assert_eq!(
        world.resource.begin_run(now, "b", fence, 5_000),
        Written::NotYours
    );
    assert_eq!(
        world.resource.begin_run(now, "a", fence + 1, 5_000),
        Written::NotYours
    );
    assert_eq!(world.resource.last_run(now), None);
    assert_eq!(
        world.resource.begin_run(now, "a", fence, 5_000),
        Written::Written
    );
    world.pass(4 * SECOND);
    let (outcome, now) = ("done".into(), world.now());
    assert_eq!(
        world.resource.finish_run(now, fence, &outcome, 5_000),
        Written::Written
    );
    world.pass(4 * SECOND);
    assert!(
        world.resource.last_run(world.now()).is_some(),
        "its end prolongs it"
    );
    world.resource.lose_last_run();
    assert_eq!(world.resource.last_run(world.now()), None);
}

#[test]
fn those_who_share_are_found_by_fence_and_a_life_ends_after_its_last_millisecond() {
    let mut world = World::new();
    world.hold(&permits("long", 1, 3));
    let fence = world.hold(&Contender {
        lease_ms: 1_000,
        ..permits("short", 1, 3)
    });
    assert_eq!(
        world.resource.inspect(world.now()).sharing.unwrap().count,
        2
    );
    let broken = world
        .resource
        .break_hold(world.now(), fence + 7, true, |_| true);
    assert_eq!(broken.reply, Broken::NotHeld);
    let broken = world
        .resource
        .break_hold(world.now(), fence, false, |_| true);
    let remaining_ms = Some(1_000);
    assert_eq!(broken.reply, Broken::Asked { remaining_ms });
    let count = |world: &World| world.resource.inspect(world.now()).sharing.unwrap().count;
    world.pass(1_000 * 1_000);
    assert_eq!(count(&world), 2);
    world.pass(1_000);
    assert_eq!(count(&world), 1);
}
